package management

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-io/slipway/services/controlplane"
)

// Bounds of a migration.
const (
	migrationTime = 5 * time.Minute
	migrationPage = 100
	// etcd cuts its log every 64 MiB; a value may have 1.5 MiB.
	fillerSize = 1 << 20
	fillerMost = 300
)

const (
	secretsPrefix = "/registry/secrets/"
	fillerKey     = "/slipway/filler"
)

// migratingArgs have etcd drop its log soon after it is no longer needed, while the log has Secrets in clear.
func migratingArgs() map[string][]string {
	return map[string][]string{controlplane.Etcd: {"--snapshot-count=10", "--max-wals=1"}}
}

// migration makes what an older version left in clear encrypted, and rids etcd's files of it. It may be interrupted anywhere
// and begin anew: the encryption's configuration tells until its end that there may be clear values.
type migration struct {
	etcd    *clientv3.Client
	secrets typedcorev1.SecretsGetter
	// prefix of what is encrypted.
	prefix []byte
	// logDir has etcd's write-ahead log.
	logDir string
	log    *slog.Logger
}

// migrate all Secrets of the running control plane.
func (p *Plane) migrate(ctx context.Context, e encryption) error {
	ctx, cancel := context.WithTimeout(ctx, migrationTime)
	defer cancel()
	etcd, err := p.dialEtcd(ctx)
	if err != nil {
		return err
	}
	defer etcd.Close()
	config, err := clientcmd.RESTConfigFromKubeConfig(p.LocalKubeconfig())
	if err != nil {
		return fmt.Errorf("read own kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 200, 400
	secrets, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connect to the management API: %w", err)
	}
	m := migration{etcd: etcd, secrets: secrets, prefix: e.prefix(), logDir: filepath.Join(p.etcdDir(), "member", "wal"), log: p.cfg.Log}
	return m.run(ctx)
}

func (m migration) run(ctx context.Context) error {
	began := time.Now()
	count, err := m.rewrite(ctx)
	if err != nil {
		return err
	}
	if err := m.turnLogOver(ctx); err != nil {
		return err
	}
	if err := m.forget(ctx); err != nil {
		return err
	}
	m.log.Info("Secrets of an older version are encrypted", "count", count, "after", time.Since(began).Round(time.Millisecond))
	return nil
}

// rewrite Secrets through the API until etcd has none in clear. The API server from before may answer the first writes.
func (m migration) rewrite(ctx context.Context) (count int, err error) {
	for {
		clear, err := m.clear(ctx)
		if err != nil {
			return count, err
		}
		if len(clear) == 0 {
			return count, nil
		}
		m.log.Info("Secrets of an older version are being encrypted", "count", len(clear))
		var last error
		for _, key := range clear {
			if err := m.rewriteOne(ctx, key); err != nil {
				last = err
			} else {
				count++
			}
		}
		if err := pause(ctx, time.Second); err != nil {
			return count, fmt.Errorf("encrypt Secrets: %w", errors.Join(err, last))
		}
	}
}

// clear lists the Secrets that are not encrypted with the key, by their keys in etcd.
func (m migration) clear(ctx context.Context) (keys []string, err error) {
	from := secretsPrefix
	for {
		page, err := m.etcd.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(secretsPrefix)), clientv3.WithLimit(migrationPage))
		if err != nil {
			return nil, fmt.Errorf("read Secrets in etcd: %w", err)
		}
		for _, kv := range page.Kvs {
			if !bytes.HasPrefix(kv.Value, m.prefix) {
				keys = append(keys, string(kv.Key))
			}
		}
		if !page.More || len(page.Kvs) == 0 {
			return keys, nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

// rewriteOne writes a Secret as it is: the API server stores it anew because its stored form is out of date.
func (m migration) rewriteOne(ctx context.Context, key string) error {
	namespace, name, ok := strings.Cut(strings.TrimPrefix(key, secretsPrefix), "/")
	if !ok {
		return fmt.Errorf("encrypt Secret %s: not a namespace and a name", key)
	}
	secret, err := m.secrets.Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		_, err = m.secrets.Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{})
	}
	// Who deleted or wrote it meanwhile has done our work; the next look tells.
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("encrypt Secret %s/%s: %w", namespace, name, err)
	}
	return nil
}

// turnLogOver writes until etcd has cut two new log files, and waits until those from before are removed: they have the clear values.
func (m migration) turnLogOver(ctx context.Context) error {
	before, err := m.logs()
	if err != nil || len(before) == 0 {
		return err
	}
	newest := before[len(before)-1]
	for range fillerMost {
		now, err := m.logs()
		if err != nil {
			return err
		}
		if at := slices.Index(now, newest); at < 0 || len(now)-at > 2 {
			break
		}
		if _, err := m.etcd.Put(ctx, fillerKey, string(make([]byte, fillerSize))); err != nil {
			return fmt.Errorf("turn etcd's log over: %w", err)
		}
	}
	for {
		now, err := m.logs()
		if err != nil {
			return err
		}
		if !slices.Contains(now, newest) {
			return nil
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return fmt.Errorf("wait for etcd to remove its old log %s: %w", newest, err)
		}
	}
}

// logs in the order in which they were cut.
func (m migration) logs() ([]string, error) {
	logs, err := filepath.Glob(filepath.Join(m.logDir, "*.wal"))
	if err != nil {
		return nil, fmt.Errorf("list etcd's logs: %w", err)
	}
	slices.Sort(logs)
	return logs, nil
}

// forget every revision but the last, and the pages that they stood on.
func (m migration) forget(ctx context.Context) error {
	deleted, err := m.etcd.Delete(ctx, fillerKey)
	if err != nil {
		return fmt.Errorf("remove filler from etcd: %w", err)
	}
	if _, err := m.etcd.Compact(ctx, deleted.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		return fmt.Errorf("compact etcd: %w", err)
	}
	for _, endpoint := range m.etcd.Endpoints() {
		if _, err := m.etcd.Defragment(ctx, endpoint); err != nil {
			return fmt.Errorf("defragment etcd: %w", err)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

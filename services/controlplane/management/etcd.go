package management

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// lookTime bounds the look at one page of Secrets.
const lookTime = 5 * time.Second

// dialEtcd of the control plane as its API server does.
func (p *Plane) dialEtcd(ctx context.Context) (*clientv3.Client, error) {
	port, err := p.cfg.Driver.Port(controlplane.ManagementName, "etcd-client")
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	own := p.secrets[pki.EtcdClient]
	p.mu.Unlock()
	pair, err := tls.X509KeyPair(own.Data["etcd-client.crt"], own.Data["etcd-client.key"])
	if err != nil {
		return nil, fmt.Errorf("read etcd's client certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(own.Data[pki.KeyCACert])
	client, err := clientv3.New(clientv3.Config{
		Context: ctx, Endpoints: []string{fmt.Sprintf("https://127.0.0.1:%d", port)}, Logger: zap.NewNop(),
		TLS: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12},
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	return client, nil
}

// checkKey is ErrKeyLost when Secrets in etcd were encrypted with another key than ours. A few tell of all.
func (p *Plane) checkKey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	etcd, err := p.dialEtcd(ctx)
	if err != nil {
		return err
	}
	defer etcd.Close()
	page, err := etcd.Get(ctx, secretsPrefix, clientv3.WithPrefix(), clientv3.WithLimit(migrationPage))
	if err != nil {
		return fmt.Errorf("read Secrets in etcd: %w", err)
	}
	for _, kv := range page.Kvs {
		if name := keyName(kv.Value); name != "" && name != p.encryption.name() {
			return fmt.Errorf("%w: Secrets in etcd are encrypted with %s, and %s has %s: put the file of the backup that etcd's data are from there",
				ErrKeyLost, name, p.store.path(controlplane.EncryptionSecret), p.encryption.name())
		}
	}
	return nil
}

// keyName of the key that a value in etcd is encrypted with; empty when it is in clear.
func keyName(value []byte) string {
	rest, encrypted := bytes.CutPrefix(value, []byte(encryptedPrefix))
	name, _, found := bytes.Cut(rest, []byte(":"))
	if !encrypted || !found {
		return ""
	}
	return string(name)
}

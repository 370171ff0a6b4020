package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// bare is etcd and kube-apiserver as one starts them by hand.
type bare struct {
	release, dir string
	processes    []*exec.Cmd
}

func (b *bare) start(ctx context.Context) (time.Duration, error) {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return 0, err
	}
	secrets, _, err := pki.Desired(pki.Spec{}, nil, time.Now())
	if err != nil {
		return 0, err
	}
	key := filepath.Join(b.dir, "sa.key")
	if err := os.WriteFile(key, secrets[pki.SASigningKey].Data[pki.KeySAPrivate], 0o600); err != nil {
		return 0, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	client, peer, secure := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1]), ports[2]
	if err := b.run(controlplane.ImageEtcd, "etcd", "--data-dir="+filepath.Join(b.dir, "etcd"),
		"--listen-client-urls="+client, "--advertise-client-urls="+client, "--listen-peer-urls="+peer,
		"--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer); err != nil {
		return 0, err
	}
	if err := b.run(controlplane.ImageKubernetes, "kube-apiserver", "--etcd-servers="+client,
		fmt.Sprintf("--secure-port=%d", secure), "--cert-dir="+filepath.Join(b.dir, "certs"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+key,
		"--service-account-signing-key-file="+key, "--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC"); err != nil {
		return 0, err
	}
	err = awaitReadyz(ctx, fmt.Sprintf("https://127.0.0.1:%d/readyz", secure))
	return time.Since(begin), err
}

func (b *bare) run(image, program string, args ...string) error {
	log, err := os.Create(filepath.Join(b.dir, program+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(b.release, image, "usr/bin", program), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	b.processes = append(b.processes, cmd)
	return nil
}

func (b *bare) stop() {
	for _, cmd := range b.processes {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func (b *bare) report(ctx context.Context, idle time.Duration, out io.Writer) error {
	var pids []int
	for _, cmd := range b.processes {
		pids = append(pids, cmd.Process.Pid)
	}
	u, err := watchIdle(ctx, pids, idle)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "bare, idle: PSS of etcd, kube-apiserver\t%.0f + %.0f MiB\tCPU %.3f cores\n", u.pss[pids[0]], u.pss[pids[1]], u.cores)
	return nil
}

func awaitReadyz(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	// The bare API server signs its certificate itself.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", url, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

package controlplane

import (
	"time"

	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// etcd is a single member. It listens on loopback only, and to nobody without a certificate.
// It reads changed certificates for every connection but its authority only once. The API server
// compacts it every five minutes, so etcd's own compaction stays off.
func etcd() Component {
	return Component{
		Name:  Etcd,
		Image: ImageEtcd,
		Command: []string{
			"$(IMAGE)/usr/bin/etcd",
			"--name=etcd-0",
			"--data-dir=$(DATA)",
			"--listen-client-urls=https://127.0.0.1:$(PORT:etcd-client)",
			"--advertise-client-urls=https://127.0.0.1:$(PORT:etcd-client)",
			"--listen-peer-urls=https://127.0.0.1:$(PORT:etcd-peer)",
			"--initial-advertise-peer-urls=https://127.0.0.1:$(PORT:etcd-peer)",
			"--initial-cluster=etcd-0=https://127.0.0.1:$(PORT:etcd-peer)",
			"--initial-cluster-state=new",
			"--client-cert-auth=true",
			"--trusted-ca-file=$(MOUNT:ca)/ca.crt",
			"--cert-file=$(MOUNT:server)/server.crt",
			"--key-file=$(MOUNT:server)/server.key",
			"--peer-client-cert-auth=true",
			"--peer-trusted-ca-file=$(MOUNT:ca)/ca.crt",
			"--peer-cert-file=$(MOUNT:peer)/peer.crt",
			"--peer-key-file=$(MOUNT:peer)/peer.key",
			"--tls-min-version=TLS1.2",
			"--quota-backend-bytes=4294967296",
			"--snapshot-count=10000",
			"--watch-progress-notify-interval=5s",
			"--feature-gates=InitialCorruptCheck=true",
			"--log-level=warn",
		},
		Env: goMemory(50, 2048),
		Mounts: []Mount{
			{Name: "ca", Secret: pki.EtcdSigner, Keys: []string{pki.KeyCACert}},
			{Name: "server", Secret: pki.EtcdServer, Reloads: true},
			{Name: "peer", Secret: pki.EtcdPeer, Reloads: true},
			{Name: "client", Secret: pki.EtcdClient, Reloads: true},
		},
		Ports: []Port{{Name: "etcd-client"}, {Name: "etcd-peer"}},
		Ready: &Probe{
			Port: "etcd-client", Path: "/readyz", ServerName: "localhost",
			CA: "$(MOUNT:ca)/ca.crt", Cert: "$(MOUNT:client)/etcd-client.crt", Key: "$(MOUNT:client)/etcd-client.key",
		},
		Live: &Probe{
			Port: "etcd-client", Path: "/livez", ServerName: "localhost",
			CA: "$(MOUNT:ca)/ca.crt", Cert: "$(MOUNT:client)/etcd-client.crt", Key: "$(MOUNT:client)/etcd-client.key",
		},
		Data:      true,
		MemoryMiB: 2048,
		CPUMillis: 2000,
		StopGrace: 10 * time.Second,
	}
}

package pki

// Names of the secrets, as HyperShift has them.
const (
	// RootCA signs what servers show; it is the API's CA for everyone. Keys ca.crt, ca.key.
	RootCA = "root-ca"
	// EtcdSigner signs etcd's certificates and those of its clients.
	EtcdSigner = "etcd-signer"
	// AggregatorSigner signs the API server's certificate for aggregated API servers.
	AggregatorSigner = "kas-aggregator-client-signer"
	// ControlPlaneSigner signs the control plane's own clients, the administrator's among them.
	ControlPlaneSigner = "kube-control-plane-signer"
	// KubeletSigner signs the API server's certificate for kubelets.
	KubeletSigner = "kube-apiserver-to-kubelet-signer"
	// ClusterSigner signs certificate signing requests: kubelets' client and serving certificates.
	ClusterSigner = "cluster-signer-ca"

	// ClientCA is the bundle of those whose client certificates the API server takes. Key ca.crt.
	ClientCA = "client-ca"
	// KubeletClientCA is what kubelets check their clients with. Key ca.crt.
	KubeletClientCA = "kubelet-client-ca"

	// EtcdServer has keys server.crt, server.key and ca.crt.
	EtcdServer = "etcd-server-tls"
	// EtcdPeer has keys peer.crt, peer.key and ca.crt.
	EtcdPeer = "etcd-peer-tls"
	// EtcdClient has keys etcd-client.crt, etcd-client.key and ca.crt.
	EtcdClient = "etcd-client-tls"
	// KASServer and the following have keys tls.crt, tls.key and ca.crt (of the issuer).
	KASServer        = "kas-server-crt"
	KASKubeletClient = "kas-kubelet-client-crt"
	KASAggregator    = "kas-aggregator-crt"
	KCMServer        = "kcm-server"
	SchedulerServer  = "kube-scheduler-server"

	// SASigningKey signs service account tokens. Keys service-account.key, service-account.pub.
	SASigningKey = "sa-signing-key"

	// AdminKubeconfig and the following have the key kubeconfig.
	AdminKubeconfig     = "admin-kubeconfig"
	LocalhostKubeconfig = "localhost-kubeconfig"
	KCMKubeconfig       = "kube-controller-manager-kubeconfig"
	SchedulerKubeconfig = "kube-scheduler-kubeconfig"
)

// Keys in the secrets' data.
const (
	KeyCACert     = "ca.crt"
	KeyCAKey      = "ca.key"
	KeyCert       = "tls.crt"
	KeyPrivate    = "tls.key"
	KeyKubeconfig = "kubeconfig"
	KeySAPrivate  = "service-account.key"
	KeySAPublic   = "service-account.pub"
)

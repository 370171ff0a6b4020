package pki

import (
	"fmt"

	clientcmd "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

// kubeconfig is a client certificate together with where to use it.
type kubeconfig struct {
	leaf leaf
	url  string
}

func kubeconfigs(spec Spec) []kubeconfig {
	masters := []string{"system:masters"}
	table := []kubeconfig{
		{url: spec.APIURL, leaf: leaf{secret: AdminKubeconfig, commonName: "system:admin", organizations: masters}},
		{url: spec.LocalAPIURL, leaf: leaf{secret: LocalhostKubeconfig, commonName: "system:slipway", organizations: masters}},
		{url: spec.LocalAPIURL, leaf: leaf{secret: KCMKubeconfig, commonName: "system:kube-controller-manager"}},
		{url: spec.LocalAPIURL, leaf: leaf{secret: SchedulerKubeconfig, commonName: "system:kube-scheduler"}},
	}
	for i := range table {
		table[i].leaf.ca = ControlPlaneSigner
		table[i].leaf = table[i].leaf.completed(spec)
	}
	return table
}

func (b *builder) kubeconfig(k kubeconfig) error {
	old := b.data(k.leaf.secret)[KeyKubeconfig]
	var config clientcmd.Config
	if err := yaml.Unmarshal(old, &config); err != nil {
		config = clientcmd.Config{} // not ours, or cut off: it is written anew
	}
	var certPEM, keyPEM []byte
	if len(config.AuthInfos) == 1 {
		certPEM, keyPEM = config.AuthInfos[0].AuthInfo.ClientCertificateData, config.AuthInfos[0].AuthInfo.ClientKeyData
	}
	pair, err := b.pair(k.leaf, certPEM, keyPEM)
	if err != nil {
		return err
	}
	out, err := renderKubeconfig(b.spec.ClusterName, k.leaf.commonName, k.url, b.cas[RootCA].certPEM, pair)
	if err != nil {
		return err
	}
	b.set(k.leaf.secret, map[string][]byte{KeyKubeconfig: out})
	return nil
}

func renderKubeconfig(cluster, user, url string, caPEM []byte, pair *keyPair) ([]byte, error) {
	context := user + "@" + cluster
	out, err := yaml.Marshal(clientcmd.Config{
		APIVersion:     "v1",
		Kind:           "Config",
		CurrentContext: context,
		Clusters:       []clientcmd.NamedCluster{{Name: cluster, Cluster: clientcmd.Cluster{Server: url, CertificateAuthorityData: caPEM}}},
		AuthInfos:      []clientcmd.NamedAuthInfo{{Name: user, AuthInfo: clientcmd.AuthInfo{ClientCertificateData: pair.certPEM, ClientKeyData: pair.keyPEM}}},
		Contexts:       []clientcmd.NamedContext{{Name: context, Context: clientcmd.Context{Cluster: cluster, AuthInfo: user}}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode kubeconfig: %w", err)
	}
	return out, nil
}

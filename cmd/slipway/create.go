package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// clusterFlags are named as hcp names them.
type clusterFlags struct {
	api                                  apiFlags
	name, namespace, agentNamespace      string
	agentLabelSelector, apiServerAddress string
	baseDomain, pullSecret, sshKey       string
	releaseImage, arch                   string
	networks                             clusterNetworks
	replicas                             int32
	nodeDrainTimeout                     time.Duration
	render, renderSensitive, wait        bool
	timeout                              time.Duration
	apiServerPort                        int32
	controlPlanePolicy, nodeUpgradeType  string
	annotations, labels                  map[string]string
}

func createClusterCommand() *cobra.Command {
	f := &clusterFlags{}
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Create or destroy a hosted cluster on hosts of the inventory",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.api.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "example", "name of the cluster")
	flags.StringVar(&f.namespace, "namespace", "clusters", "namespace of the HostedCluster")
	flags.StringVar(&f.agentNamespace, "agent-namespace", "", "namespace of the Agents (default the appliance's)")
	flags.StringVar(&f.agentLabelSelector, "agentLabelSelector", "", "labels of the Agents that the NodePool may take, as size=large")
	flags.StringVar(&f.apiServerAddress, "api-server-address", "", "address of the hosted API (default the appliance's, of the family of the first service network)")
	flags.Int32Var(&f.apiServerPort, "api-server-port", 0, "port of the hosted API (default a free one)")
	flags.StringVar(&f.baseDomain, "base-domain", "", "base domain of the cluster (default the site's)")
	flags.StringVar(&f.pullSecret, "pull-secret", "", "file with the pull secret; without it an empty one is made, which the site's registry accepts")
	flags.StringVar(&f.sshKey, "ssh-key", "", "file with the public SSH key for the nodes")
	flags.StringVar(&f.releaseImage, "release-image", "", "release image (default the newest in the site's registry)")
	flags.StringVar(&f.arch, "arch", "amd64", "architecture of the NodePool")
	f.networks.add(flags)
	flags.Int32Var(&f.replicas, "node-pool-replicas", 0, "nodes in the NodePool; negative makes none")
	flags.DurationVar(&f.nodeDrainTimeout, "node-drain-timeout", 0, "how long a drain may take; 0 waits for ever")
	flags.StringVar(&f.controlPlanePolicy, "control-plane-availability-policy", string(hypershiftv1beta1.SingleReplica), "SingleReplica or HighlyAvailable")
	flags.StringVar(&f.nodeUpgradeType, "node-upgrade-type", string(hypershiftv1beta1.UpgradeTypeReplace), "Replace or InPlace")
	flags.StringToStringVar(&f.annotations, "annotations", nil, "annotations of the HostedCluster")
	flags.StringToStringVar(&f.labels, "labels", nil, "labels of the HostedCluster")
	flags.BoolVar(&f.render, "render", false, "print the manifests instead of applying them")
	flags.BoolVar(&f.renderSensitive, "render-sensitive", false, "with --render: print the Secrets too")
	flags.BoolVar(&f.wait, "wait", false, "wait until the cluster is available and its nodes are there")
	flags.DurationVar(&f.timeout, "timeout", 30*time.Minute, "with --wait: how long")
	return cmd
}

func (f *clusterFlags) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	kube, err := f.api.client()
	if err != nil {
		return err
	}
	published, err := site(ctx, kube)
	if err != nil {
		return err
	}
	if err := f.setDefaults(published); err != nil {
		return err
	}
	objects, err := f.objects()
	if err != nil {
		return err
	}
	if f.render {
		return f.print(cmd, objects)
	}
	if err := createAll(ctx, cmd, kube, objects); err != nil {
		return err
	}
	if !f.wait {
		return nil
	}
	return f.waitForCluster(ctx, cmd, kube)
}

func (f *clusterFlags) setDefaults(published map[string]string) error {
	for _, value := range []struct {
		at  *string
		key string
	}{
		{&f.agentNamespace, "agentNamespace"}, {&f.baseDomain, "domain"}, {&f.releaseImage, "releaseImage"},
	} {
		if *value.at == "" {
			*value.at = published[value.key]
		}
	}
	site, err := siteAddresses(published)
	if err != nil {
		return err
	}
	if err := f.networks.setDefaults(site); err != nil {
		return err
	}
	if f.apiServerAddress == "" {
		f.apiServerAddress, err = f.networks.address(site)
	}
	return err
}

// createAll keeps the order: a cluster without its secrets would be refused.
func createAll(ctx context.Context, cmd *cobra.Command, kube client.Client, objects []client.Object) error {
	for _, object := range objects {
		kind := object.GetObjectKind().GroupVersionKind().Kind
		err := kube.Create(ctx, object)
		if apierrors.IsAlreadyExists(err) {
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s is there already\n", kind, object.GetName())
			continue
		}
		if err != nil {
			return fmt.Errorf("create %s %s: %w", kind, object.GetName(), err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s created\n", kind, object.GetName())
	}
	return nil
}

func (f *clusterFlags) print(cmd *cobra.Command, objects []client.Object) error {
	for _, object := range objects {
		if _, secret := object.(*corev1.Secret); secret && !f.renderSensitive {
			continue
		}
		text, err := yaml.Marshal(object)
		if err != nil {
			return fmt.Errorf("render %s: %w", object.GetName(), err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "---\n%s", text)
	}
	return nil
}

func (f *clusterFlags) objects() ([]client.Object, error) {
	if f.releaseImage == "" {
		return nil, errors.New("no release image: the site's registry has none, import one or give --release-image")
	}
	pullSecret, err := f.pullSecretData()
	if err != nil {
		return nil, err
	}
	objects := []client.Object{
		&corev1.Namespace{TypeMeta: typeMeta("v1", "Namespace"), ObjectMeta: metav1.ObjectMeta{Name: f.namespace}},
		&corev1.Secret{
			TypeMeta:   typeMeta("v1", "Secret"),
			ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: f.name + "-pull-secret"},
			Type:       corev1.SecretTypeDockerConfigJson,
			Data:       map[string][]byte{corev1.DockerConfigJsonKey: pullSecret},
		},
	}
	cluster, err := f.hostedCluster()
	if err != nil {
		return nil, err
	}
	if f.sshKey != "" {
		key, err := os.ReadFile(f.sshKey)
		if err != nil {
			return nil, fmt.Errorf("read SSH key: %w", err)
		}
		objects = append(objects, &corev1.Secret{
			TypeMeta:   typeMeta("v1", "Secret"),
			ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: f.name + "-ssh-key"},
			Data:       map[string][]byte{"id_rsa.pub": key},
		})
		cluster.Spec.SSHKey.Name = f.name + "-ssh-key"
	}
	objects = append(objects, cluster)
	if f.replicas < 0 {
		return objects, nil
	}
	pool, err := f.nodePool()
	if err != nil {
		return nil, err
	}
	return append(objects, pool), nil
}

func (f *clusterFlags) pullSecretData() ([]byte, error) {
	if f.pullSecret == "" {
		return []byte(`{"auths":{}}`), nil
	}
	data, err := os.ReadFile(f.pullSecret)
	if err != nil {
		return nil, fmt.Errorf("read pull secret: %w", err)
	}
	if !json.Valid(data) {
		return nil, fmt.Errorf("read pull secret: %s is not JSON", f.pullSecret)
	}
	return data, nil
}

func (f *clusterFlags) hostedCluster() (*hypershiftv1beta1.HostedCluster, error) {
	cluster := &hypershiftv1beta1.HostedCluster{
		TypeMeta:   typeMeta(hypershiftv1beta1.GroupVersion.String(), "HostedCluster"),
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: f.name, Annotations: f.annotations, Labels: f.labels},
		Spec: hypershiftv1beta1.HostedClusterSpec{
			Release:                      hypershiftv1beta1.Release{Image: f.releaseImage},
			PullSecret:                   corev1.LocalObjectReference{Name: f.name + "-pull-secret"},
			DNS:                          hypershiftv1beta1.DNSSpec{BaseDomain: f.baseDomain},
			ControllerAvailabilityPolicy: hypershiftv1beta1.AvailabilityPolicy(f.controlPlanePolicy),
			Platform: hypershiftv1beta1.PlatformSpec{
				Type:  hypershiftv1beta1.AgentPlatform,
				Agent: &hypershiftv1beta1.AgentPlatformSpec{AgentNamespace: f.agentNamespace},
			},
			Networking: hypershiftv1beta1.ClusterNetworking{NetworkType: hypershiftv1beta1.Other},
			Etcd: hypershiftv1beta1.EtcdSpec{
				ManagementType: hypershiftv1beta1.Managed,
				Managed: &hypershiftv1beta1.ManagedEtcdSpec{Storage: hypershiftv1beta1.ManagedEtcdStorageSpec{
					Type: hypershiftv1beta1.PersistentVolumeEtcdStorage,
				}},
			},
		},
	}
	if err := f.networks.put(&cluster.Spec.Networking); err != nil {
		return nil, err
	}
	for _, service := range []hypershiftv1beta1.ServiceType{
		hypershiftv1beta1.APIServer, hypershiftv1beta1.OAuthServer, hypershiftv1beta1.Konnectivity, hypershiftv1beta1.Ignition,
	} {
		node := &hypershiftv1beta1.NodePortPublishingStrategy{Address: f.apiServerAddress}
		if service == hypershiftv1beta1.APIServer {
			node.Port = f.apiServerPort
		}
		cluster.Spec.Services = append(cluster.Spec.Services, hypershiftv1beta1.ServicePublishingStrategyMapping{
			Service:                   service,
			ServicePublishingStrategy: hypershiftv1beta1.ServicePublishingStrategy{Type: hypershiftv1beta1.NodePort, NodePort: node},
		})
	}
	return cluster, nil
}

func (f *clusterFlags) nodePool() (*hypershiftv1beta1.NodePool, error) {
	pool := &hypershiftv1beta1.NodePool{
		TypeMeta:   typeMeta(hypershiftv1beta1.GroupVersion.String(), "NodePool"),
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: f.name},
		Spec: hypershiftv1beta1.NodePoolSpec{
			ClusterName: f.name,
			Replicas:    ptr.To(f.replicas),
			Arch:        f.arch,
			Release:     hypershiftv1beta1.Release{Image: f.releaseImage},
			Management:  hypershiftv1beta1.NodePoolManagement{UpgradeType: hypershiftv1beta1.UpgradeType(f.nodeUpgradeType)},
			Platform: hypershiftv1beta1.NodePoolPlatform{
				Type:  hypershiftv1beta1.AgentPlatform,
				Agent: &hypershiftv1beta1.AgentNodePoolPlatform{},
			},
		},
	}
	if f.nodeDrainTimeout > 0 {
		pool.Spec.NodeDrainTimeout = &metav1.Duration{Duration: f.nodeDrainTimeout}
	}
	if f.agentLabelSelector != "" {
		selector, err := metav1.ParseToLabelSelector(f.agentLabelSelector)
		if err != nil {
			return nil, fmt.Errorf("--agentLabelSelector: %w", err)
		}
		pool.Spec.Platform.Agent.AgentLabelSelector = selector
	}
	return pool, nil
}

func typeMeta(version, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: version, Kind: kind}
}

// waitForCluster prints each change of what is being waited for.
func (f *clusterFlags) waitForCluster(ctx context.Context, cmd *cobra.Command, kube client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	started, last := time.Now(), ""
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		line, done, err := f.progress(ctx, kube)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if line != "" && line != last {
			fmt.Fprintf(cmd.OutOrStdout(), "%6s  %s\n", time.Since(started).Round(time.Second), line)
			last = line
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for cluster %s: %w, last seen: %s", f.name, ctx.Err(), last)
		case <-tick.C:
		}
	}
}

func (f *clusterFlags) progress(ctx context.Context, kube client.Client) (string, bool, error) {
	key := client.ObjectKey{Namespace: f.namespace, Name: f.name}
	cluster := &hypershiftv1beta1.HostedCluster{}
	if err := kube.Get(ctx, key, cluster); err != nil {
		return "", false, fmt.Errorf("read HostedCluster %s: %w", f.name, err)
	}
	available := meta.FindStatusCondition(cluster.Status.Conditions, string(hypershiftv1beta1.HostedClusterAvailable))
	if available == nil || available.Status != metav1.ConditionTrue {
		if available == nil {
			return "the cluster was not looked at yet", false, nil
		}
		return strings.TrimSpace("not available: " + available.Reason + " " + available.Message), false, nil
	}
	if f.replicas <= 0 {
		return "available", true, nil
	}
	pool := &hypershiftv1beta1.NodePool{}
	if err := kube.Get(ctx, key, pool); err != nil {
		return "", false, fmt.Errorf("read NodePool %s: %w", f.name, err)
	}
	return fmt.Sprintf("available, %d of %d nodes", pool.Status.Replicas, f.replicas), pool.Status.Replicas >= f.replicas, nil
}

package main

import (
	"fmt"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func createKubeconfigCommand() *cobra.Command {
	var flags apiFlags
	var name, namespace string
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the admin kubeconfig of a hosted cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kube, err := flags.client()
			if err != nil {
				return err
			}
			cluster := &hypershiftv1beta1.HostedCluster{}
			if err := kube.Get(cmd.Context(), client.ObjectKey{Namespace: namespace, Name: name}, cluster); err != nil {
				return fmt.Errorf("read HostedCluster %s/%s: %w", namespace, name, err)
			}
			if cluster.Status.KubeConfig == nil {
				return fmt.Errorf("HostedCluster %s/%s has no kubeconfig yet: `kubectl get hostedcluster -n %s %s` says what it waits for", namespace, name, namespace, name)
			}
			secret := &corev1.Secret{}
			if err := kube.Get(cmd.Context(), client.ObjectKey{Namespace: namespace, Name: cluster.Status.KubeConfig.Name}, secret); err != nil {
				return fmt.Errorf("read kubeconfig of %s/%s: %w", namespace, name, err)
			}
			_, err = cmd.OutOrStdout().Write(secret.Data["kubeconfig"])
			return err
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&name, "name", "example", "name of the cluster")
	cmd.Flags().StringVar(&namespace, "namespace", "clusters", "namespace of the HostedCluster")
	return cmd
}

package main

import (
	"context"
	"fmt"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func destroyClusterCommand() *cobra.Command {
	var flags apiFlags
	var name, namespace string
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Create or destroy a hosted cluster on hosts of the inventory",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kube, err := flags.client()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), grace)
			defer cancel()
			return destroy(ctx, cmd, kube, client.ObjectKey{Namespace: namespace, Name: name})
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&name, "name", "", "name of the cluster")
	cmd.Flags().StringVar(&namespace, "namespace", "clusters", "namespace of the HostedCluster")
	cmd.Flags().DurationVar(&grace, "cluster-grace-period", 10*time.Minute, "how long to wait for the end")
	if err := cmd.MarkFlagRequired("name"); err != nil {
		panic(err)
	}
	return cmd
}

// destroy deletes the NodePools first, so that drains still have an API to talk to.
func destroy(ctx context.Context, cmd *cobra.Command, kube client.Client, key client.ObjectKey) error {
	pools := &hypershiftv1beta1.NodePoolList{}
	if err := kube.List(ctx, pools, client.InNamespace(key.Namespace)); err != nil {
		return fmt.Errorf("list NodePools: %w", err)
	}
	for i := range pools.Items {
		if pools.Items[i].Spec.ClusterName != key.Name {
			continue
		}
		if err := kube.Delete(ctx, &pools.Items[i]); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete NodePool %s: %w", pools.Items[i].Name, err)
		}
	}
	cluster := &hypershiftv1beta1.HostedCluster{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if err := kube.Delete(ctx, cluster); err != nil {
		return fmt.Errorf("delete HostedCluster %s: %w", key, err)
	}
	started := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		err := kube.Get(ctx, key, cluster)
		if apierrors.IsNotFound(err) {
			fmt.Fprintf(cmd.OutOrStdout(), "cluster %s is gone after %s\n", key, time.Since(started).Round(time.Second))
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("read HostedCluster %s: %w", key, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of %s: %w: `kubectl get machines,agents -A` shows what is left", key, ctx.Err())
		case <-tick.C:
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
)

const defaultStateDir = "/var/lib/slipway"

// apiFlags say which management API a verb talks to.
type apiFlags struct {
	kubeconfig string
}

func (f *apiFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig of the management API (default $KUBECONFIG, then that of the appliance on this machine)")
}

func (f *apiFlags) restConfig() (*rest.Config, error) {
	path := f.kubeconfig
	if path == "" {
		path = os.Getenv("KUBECONFIG")
	}
	if path == "" {
		path = filepath.Join(defaultStateDir, "admin.kubeconfig")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read kubeconfig: %w: give --kubeconfig, or run this on the appliance after `slipway up`", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	// A verb asks little; a limiter would only put its own words before the API's.
	config.QPS = -1
	return config, nil
}

func (f *apiFlags) client() (client.Client, error) {
	config, err := f.restConfig()
	if err != nil {
		return nil, err
	}
	scheme, err := api.Scheme()
	if err != nil {
		return nil, err
	}
	kube, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to the management API: %w", err)
	}
	return kube, nil
}

// site reads what the appliance says of itself.
func site(ctx context.Context, kube client.Client) (map[string]string, error) {
	published := &corev1.ConfigMap{}
	if err := kube.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: siteConfigMap}, published); err != nil {
		return nil, fmt.Errorf("read what the appliance publishes: %w", err)
	}
	return published.Data, nil
}

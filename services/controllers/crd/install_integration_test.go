//go:build integration

package crd

import (
	"os"
	"testing"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/slipway-io/slipway/assets/crds"
	"github.com/slipway-io/slipway/services/api"
)

func TestIntegrationInstallTwice(t *testing.T) {
	environment := &envtest.Environment{BinaryAssetsDirectory: os.Getenv("SLIPWAY_RELEASE_BIN")}
	config, err := environment.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Error(err)
		}
	})
	scheme, err := api.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	kube, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Install(t.Context(), kube, crds.FS); err != nil {
			t.Fatal(err)
		}
	}
	if err := kube.List(t.Context(), &hypershiftv1beta1.HostedClusterList{}); err != nil {
		t.Fatal(err)
	}
}

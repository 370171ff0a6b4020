//go:build integration

package crd_test

import (
	"os"
	"testing"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"

	"github.com/slipway-io/slipway/assets/crds"
	"github.com/slipway-io/slipway/services/controllers/crd"
	"github.com/slipway-io/slipway/test/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// TestIntegrationInstallTwice: a world has the definitions installed once.
func TestIntegrationInstallTwice(t *testing.T) {
	w := world.Start(t)
	w.Must(w.List(t.Context(), &hypershiftv1beta1.HostedClusterList{}))
	w.Must(crd.Install(t.Context(), w.Client, crds.FS))
	w.Must(w.List(t.Context(), &hypershiftv1beta1.HostedClusterList{}))
}

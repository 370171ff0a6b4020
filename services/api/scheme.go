// Package api has the scheme, the configuration file's types, condition types and reasons.
package api

import (
	"fmt"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	configv1 "github.com/openshift/api/config/v1"
	operatorv1alpha1 "github.com/openshift/api/operator/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	capiagentv1beta1 "github.com/slipway-io/slipway/services/api/capiagent/v1beta1"
)

// Scheme knows every kind that Slipway reads or writes.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme,
		apiextensionsv1.AddToScheme,
		agentv1beta1.AddToScheme,
		hypershiftv1beta1.AddToScheme,
		configv1.Install,
		operatorv1alpha1.Install,
		metal3v1alpha1.AddToScheme,
		clusterv1.AddToScheme,
		capiagentv1beta1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register kinds: %w", err)
		}
	}
	return scheme, nil
}

package infraenv

import (
	"context"
	"fmt"
	"strings"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// SecureBootAnnotation on an InfraEnv makes its x86 machines start the signed chain: "true" or "false".
const SecureBootAnnotation = "slipway.io/secure-boot"

// SecureBoot says whether a machine starts the signed chain: its BareMetalHost's bootMode says so, else the annotation of
// its InfraEnv; known is false when neither says anything.
func (l Lookup) SecureBoot(ctx context.Context, mac string) (secure, known bool, err error) {
	hosts := &metal3v1alpha1.BareMetalHostList{}
	if err := l.Client.List(ctx, hosts); err != nil {
		return false, false, fmt.Errorf("list baremetalhosts: %w", err)
	}
	for i := range hosts.Items {
		spec := &hosts.Items[i].Spec
		if strings.EqualFold(spec.BootMACAddress, mac) && spec.BootMode != "" {
			return spec.BootMode == metal3v1alpha1.UEFISecureBoot, true, nil
		}
	}
	_, infraEnv, err := l.BootDecision(ctx, mac, "", "x86_64")
	if apierrors.IsNotFound(err) || (err == nil && infraEnv == nil) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	value, known := infraEnv.Annotations[SecureBootAnnotation]
	return value == "true", known, nil
}

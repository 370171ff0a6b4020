package bmac

import (
	"context"
	"fmt"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

// Lookup says who switches a host's power; it reads from the manager's cache.
type Lookup struct{ Client client.Reader }

// Power of an Agent's machine.
func (l Lookup) Power(ctx context.Context, agent *agentv1beta1.Agent) (host.Power, error) {
	all := &metal3v1alpha1.BareMetalHostList{}
	if err := l.Client.List(ctx, all, client.InNamespace(agent.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return host.Power{}, fmt.Errorf("list baremetalhosts of namespace %s: %w", agent.Namespace, err)
	}
	power := host.Power{}
	for i := range all.Items {
		if bmh := &all.Items[i]; Fits(bmh, agent) {
			power = powerOf(bmh)
			break
		}
	}
	image, err := imageFor(ctx, l.Client, client.ObjectKey{Namespace: agent.Namespace, Name: agent.Labels[api.InfraEnvLabel]})
	power.Image = image.url
	return power, err
}

// powerOf is what a BareMetalHost says of its BMC.
func powerOf(bmh *metal3v1alpha1.BareMetalHost) host.Power {
	power := host.Power{BareMetalHost: bmh.Namespace + "/" + bmh.Name, Corrections: Corrections(bmh)}
	_, paused := bmh.Annotations[api.PausedAnnotation]
	_, detached := bmh.Annotations[api.DetachedAnnotation]
	switch {
	case !bmh.HasBMCDetails():
		power.Problem = "it has no BMC"
	case paused:
		power.Problem = "it has the annotation " + api.PausedAnnotation
	case detached:
		power.Problem = "it has the annotation " + api.DetachedAnnotation
	case !bmh.Spec.Online:
		power.Problem = "its spec.online is false"
	case bmh.Status.OperationalStatus != metal3v1alpha1.OperationalStatusOK:
		power.Problem = "its BMC does not do as asked: " + bmh.Status.ErrorMessage
	}
	// A BMC in trouble may recover while the host waits.
	power.Medium = bmh.HasBMCDetails() && !paused && !detached && bmh.Status.Provisioning.Image.URL != "" &&
		bmh.Annotations[api.MediumEjectedAnnotation] == ""
	return power
}

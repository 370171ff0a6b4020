package bmac

import (
	"context"
	"fmt"
	"strings"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
)

// whyLimit is what of an InfraEnv's message fits into an Event with the rest.
const whyLimit = 700

// discovery is the image of an InfraEnv.
type discovery struct {
	// url of the ISO, empty while there is none.
	url string
	// why there is none, for people; empty also while it is being made.
	why string
}

// imageFor an InfraEnv.
func imageFor(ctx context.Context, kube client.Reader, key client.ObjectKey) (discovery, error) {
	infraEnv := &agentv1beta1.InfraEnv{}
	if err := kube.Get(ctx, key, infraEnv); err != nil {
		if apierrors.IsNotFound(err) {
			return discovery{why: fmt.Sprintf("there is no InfraEnv %s: create it, or name another by the label %s", key, api.InfraEnvLabel)}, nil
		}
		return discovery{}, fmt.Errorf("read infraenv %s: %w", key, err)
	}
	return imageOf(infraEnv), nil
}

// imageOf is the discovery ISO, if what its URL gives is what the InfraEnv says.
func imageOf(infraEnv *agentv1beta1.InfraEnv) discovery {
	name := infraEnv.Namespace + "/" + infraEnv.Name
	if !infraEnv.DeletionTimestamp.IsZero() {
		return discovery{why: "InfraEnv " + name + " is being deleted"}
	}
	created := conditionsv1.FindStatusCondition(infraEnv.Status.Conditions, agentv1beta1.ImageCreatedCondition)
	switch {
	case created == nil:
		return discovery{}
	case created.Status == corev1.ConditionTrue:
		return discovery{url: infraEnv.Status.ISODownloadURL}
	}
	return discovery{why: "InfraEnv " + name + " has no image: " + strings.ToValidUTF8(created.Message[:min(len(created.Message), whyLimit)], "")}
}

// await says for people why a host waits that nobody has seen and that has no image yet.
func await(bmh *metal3v1alpha1.BareMetalHost, agent *agentv1beta1.Agent, why string) {
	delete(bmh.Annotations, api.AwaitedAnnotation)
	if why != "" && agent == nil && bmh.Spec.Image == nil {
		bmh.Annotations[api.AwaitedAnnotation] = why
	}
}

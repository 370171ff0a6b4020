package nodepool

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/slipway-io/slipway/services/ignition"
)

// longestName fits into the labels that Cluster API makes of it.
const longestName = 63

// hashed is everything that makes nodes start over when it changes.
type hashed struct {
	Version     string
	Components  map[string]string
	Configs     []ignition.UserConfig
	PullSecret  string
	TrustBundle string
}

// hash is short, because it becomes part of names.
func hash(of any) (string, error) {
	text, err := json.Marshal(of)
	if err != nil {
		return "", fmt.Errorf("encode what is hashed: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:4]), nil
}

// platformProblem is what a user has to mend before the pool can have hosts.
func platformProblem(pool *hypershiftv1beta1.NodePool) string {
	if len(pool.Name) > longestName {
		return fmt.Sprintf("metadata.name has more than %d characters", longestName)
	}
	if kind := pool.Spec.Platform.Type; kind != hypershiftv1beta1.AgentPlatform {
		return fmt.Sprintf("spec.platform.type: %s is not supported, only Agent is", kind)
	}
	if agent := pool.Spec.Platform.Agent; agent != nil && agent.AgentLabelSelector != nil {
		if _, err := metav1.LabelSelectorAsSelector(agent.AgentLabelSelector); err != nil {
			return "spec.platform.agent.agentLabelSelector: " + err.Error()
		}
	}
	return ""
}

func selectorOf(pool *hypershiftv1beta1.NodePool) *metav1.LabelSelector {
	if pool.Spec.Platform.Agent == nil {
		return nil
	}
	return pool.Spec.Platform.Agent.AgentLabelSelector
}

// replicas of a pool: autoscaling is not served, so such a pool stays at its minimum.
func replicas(pool *hypershiftv1beta1.NodePool) int32 {
	if pool.Spec.AutoScaling != nil {
		return pool.Spec.AutoScaling.Min
	}
	return ptr.Deref(pool.Spec.Replicas, 0)
}

// strategy says how nodes are exchanged. Without a word of the user no spare host is asked for: one goes, one comes.
func strategy(management hypershiftv1beta1.NodePoolManagement) clusterv1.MachineDeploymentRolloutStrategy {
	surge, unavailable := intstr.FromInt32(0), intstr.FromInt32(1)
	switch {
	case management.UpgradeType == hypershiftv1beta1.UpgradeTypeInPlace:
		if inPlace := management.InPlace; inPlace != nil && inPlace.MaxUnavailable != nil {
			unavailable = *inPlace.MaxUnavailable
		}
	case management.Replace != nil && management.Replace.Strategy == hypershiftv1beta1.UpgradeStrategyOnDelete:
		return clusterv1.MachineDeploymentRolloutStrategy{Type: clusterv1.OnDeleteMachineDeploymentStrategyType}
	case management.Replace != nil && management.Replace.RollingUpdate != nil:
		rolling := management.Replace.RollingUpdate
		surge, unavailable = ptr.Deref(rolling.MaxSurge, surge), ptr.Deref(rolling.MaxUnavailable, unavailable)
	}
	return clusterv1.MachineDeploymentRolloutStrategy{
		Type: clusterv1.RollingUpdateMachineDeploymentStrategyType,
		RollingUpdate: clusterv1.MachineDeploymentRolloutStrategyRollingUpdate{
			MaxSurge: ptr.To(surge), MaxUnavailable: ptr.To(unavailable),
		},
	}
}

// seconds of a duration; nil stays nil, which is without end.
func seconds(d *metav1.Duration) *int32 {
	if d == nil {
		return nil
	}
	return ptr.To(int32(min(d.Duration/time.Second, 1<<30)))
}

func taints(of []hypershiftv1beta1.Taint) []corev1.Taint {
	var out []corev1.Taint
	for _, taint := range of {
		out = append(out, corev1.Taint{Key: taint.Key, Value: taint.Value, Effect: taint.Effect})
	}
	return out
}

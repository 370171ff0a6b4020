//go:build integration

package bmac_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	capiagentv1beta1 "github.com/slipway-io/slipway/services/api/capiagent/v1beta1"
	"github.com/slipway-io/slipway/services/host"
)

// starts of the machine, after which the last one is what is wanted.
func (w *scene) started(count int, want string) {
	w.Helper()
	w.eventually("start from "+want, func() bool {
		starts := w.bmc.Starts()
		return len(starts) >= count && strings.HasPrefix(starts[count-1], want)
	})
}

// TestIntegrationLife is a declared machine's: into the pool, onto its disk, astray, back, and gone.
func TestIntegrationLife(t *testing.T) {
	w := start(t)
	w.declare(func(h *metal3v1alpha1.BareMetalHost) {
		h.Spec.AutomatedCleaningMode = metal3v1alpha1.CleaningModeMetadata
	})
	w.started(1, "Cd http://192.0.2.1:8080/byapikey/")
	if !w.read().Spec.Online || !w.host.Spec.Image.IsLiveISO() {
		t.Fatalf("%+v", w.host.Spec)
	}
	w.discover()
	w.cleaned("id-b")
	w.eventually("approved", func() bool { return w.state(api.StateKnownUnbound).Spec.Approved })
	a := w.state(api.StateKnownUnbound)
	if a.Spec.Hostname != "rack1-w0" || a.Spec.InstallationDiskID != "id-b" || a.Labels[api.BMHLabel] != "w0" {
		t.Fatalf("%+v %v", a.Spec, a.Labels)
	}
	// The disk is written: the medium goes before the reboot may.
	w.install()
	w.eventually("medium out", func() bool {
		power, err := w.lookup.Power(t.Context(), w.state(api.StateInstallingInProgress))
		w.Must(err)
		return power.BMC() && !power.Medium
	})
	if media := w.bmc.Media(); len(media) > 0 || w.read().Annotations[api.BootImageAnnotation] != api.BootImageInstalled {
		t.Fatalf("media %v, annotations %v", media, w.host.Annotations)
	}
	// The discovery image comes up all the same: that is corrected once.
	w.agent(host.Register)
	w.started(2, "Hdd")
	w.agent(func(a *agentv1beta1.Agent) error { host.CheckIn(a, true, time.Now()); return nil })
	w.state(api.StateInstallingInProgress)
	w.eventually("corrected", func() bool {
		return w.read().Annotations[api.BootCorrectionAnnotation] == "1" && w.host.Annotations["slipway.io/restart-asked"] == ""
	})
	// The cluster gives it up: the BMC brings it back, whatever its operating system does.
	w.edit(func(a *agentv1beta1.Agent) {
		a.Spec.ClusterDeploymentName, a.Spec.IgnitionEndpointTokenReference = nil, nil
	})
	w.started(3, "Cd http://192.0.2.1:8080/byapikey/")
	w.discover()
	w.cleaned("id-b")
	w.state(api.StateKnownUnbound)
	w.eventually("annotations gone", func() bool {
		for _, key := range []string{api.BootImageAnnotation, api.RebootAnnotationBMAC, api.BootCorrectionAnnotation, "slipway.io/restart-asked"} {
			if w.read().Annotations[key] != "" {
				return false
			}
		}
		return true
	})
	w.another(t)
}

// cleaned is a disk by its agent, which the host in the pool waited for.
func (w *scene) cleaned(disk string) {
	w.Helper()
	w.eventually("waits for its disk", func() bool {
		return strings.Contains(w.state(api.StateDiscoveringUnbound).Status.DebugInfo.StateInfo, "disk "+disk+" to be wiped")
	})
	w.agent(func(a *agentv1beta1.Agent) error { host.CleanEnded(a, disk, true, "", time.Now()); return nil })
}

// another image for a host in the pool; without the annotation its Agent is set free in the end.
func (w *scene) another(t *testing.T) {
	infraEnv := &agentv1beta1.InfraEnv{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
	w.Edit(infraEnv, func() { infraEnv.Spec.OSImageVersion = "2" })
	w.eventually("new image", func() bool {
		starts := w.bmc.Starts()
		return strings.Contains(starts[len(starts)-1], "/2/x86_64/")
	})
	w.Must(w.Delete(t.Context(), w.host))
	w.gone()
	if a := w.state(api.StateKnownUnbound); a.Labels[api.BMHLabel] != "" || w.bmc.Power() != "Off" {
		t.Errorf("labels %v, power %s", a.Labels, w.bmc.Power())
	}
}

func (w *scene) gone() {
	w.Helper()
	w.Gone(&metal3v1alpha1.BareMetalHost{ObjectMeta: w.host.ObjectMeta}, func() string { return fmt.Sprintf("%+v", w.read().Status) })
}

// TestIntegrationAwaited is a host whose label names no InfraEnv: it says so, and starts when the label is corrected.
func TestIntegrationAwaited(t *testing.T) {
	w := start(t)
	w.declare(func(h *metal3v1alpha1.BareMetalHost) { h.Labels[api.InfraEnvLabel] = "absent" })
	w.eventually("says what it waits for", func() bool {
		status := w.read().Status
		return status.Provisioning.State == metal3v1alpha1.StateAvailable && status.OperationalStatus == metal3v1alpha1.OperationalStatusDelayed &&
			strings.Contains(status.ErrorMessage, "there is no InfraEnv "+namespace+"/absent")
	})
	w.eventually("Event", func() bool {
		events := &eventsv1.EventList{}
		w.Must(w.List(t.Context(), events, client.InNamespace(namespace)))
		return slices.ContainsFunc(events.Items, func(e eventsv1.Event) bool { return e.Reason == "ImageMissing" && e.Regarding.Name == "w0" })
	})
	if starts := w.bmc.Starts(); len(starts) > 0 {
		t.Errorf("started %v", starts)
	}
	w.Edit(w.host, func() { w.host.Labels[api.InfraEnvLabel] = "default" })
	w.started(1, "Cd http://192.0.2.1:8080/byapikey/")
	w.eventually("well", func() bool {
		status := w.read().Status
		return status.OperationalStatus == metal3v1alpha1.OperationalStatusOK && status.ErrorMessage == "" && w.host.Annotations[api.AwaitedAnnotation] == ""
	})
}

// TestIntegrationRemove deletes the BareMetalHost of a node whose annotation asks for more.
func TestIntegrationRemove(t *testing.T) {
	w := start(t)
	w.declare(func(h *metal3v1alpha1.BareMetalHost) {
		h.Annotations["bmac.agent-install.openshift.io/remove-agent-and-node-on-delete"] = "true"
		h.Annotations["bmac.agent-install.openshift.io/drain-timeout"] = "90s"
	})
	w.started(1, "Cd ")
	w.discover()
	w.eventually("approved", func() bool { return w.state(api.StateKnownUnbound).Spec.Approved })
	w.Must(w.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "clusters-demo"}}))
	machine := &clusterv1.Machine{ObjectMeta: metav1.ObjectMeta{Namespace: "clusters-demo", Name: "m", Finalizers: []string{"test.example/drain"}}}
	machine.Spec.ClusterName = "demo"
	machine.Spec.Bootstrap.DataSecretName = &machine.Name
	machine.Spec.InfrastructureRef = clusterv1.ContractVersionedObjectReference{APIGroup: capiagentv1beta1.GroupVersion.Group, Kind: "AgentMachine", Name: "m"}
	w.Must(w.Create(t.Context(), machine))
	w.Must(w.Create(t.Context(), &capiagentv1beta1.AgentMachine{ObjectMeta: metav1.ObjectMeta{
		Namespace: "clusters-demo", Name: "m",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: clusterv1.GroupVersion.String(), Kind: "Machine", Name: "m", UID: machine.UID}},
	}}))
	w.edit(func(a *agentv1beta1.Agent) {
		a.Labels[api.AgentMachineRefLabel] = "m"
		a.Annotations = map[string]string{api.AgentMachineRefNamespace: "clusters-demo"}
	})
	w.install()
	w.eventually("on its disk", func() bool { return w.read().Annotations[api.MediumEjectedAnnotation] != "" })

	w.Must(w.Delete(t.Context(), w.host))
	w.eventually("machine is deleted", func() bool {
		w.Read(machine)
		return !machine.DeletionTimestamp.IsZero()
	})
	if d := machine.Spec.Deletion; d.NodeDrainTimeoutSeconds == nil || *d.NodeDrainTimeoutSeconds != 90 {
		t.Errorf("%+v", d)
	}
	// As long as the node is drained, its machine stays on.
	time.Sleep(3 * time.Second)
	if h := w.read(); w.bmc.Power() != "On" || h.Annotations["bmac.agent-install.openshift.io/drain-started-at"] == "" ||
		!strings.Contains(h.Annotations["bmac.agent-install.openshift.io/drain-status"], "clusters-demo/m") {
		t.Errorf("power %s, annotations %v", w.bmc.Power(), h.Annotations)
	}
	// Cluster API is done, and the AgentMachine gives the Agent up.
	w.edit(func(a *agentv1beta1.Agent) {
		delete(a.Labels, api.AgentMachineRefLabel)
		a.Spec.ClusterDeploymentName = nil
	})
	w.gone()
	err := w.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: hostID}, &agentv1beta1.Agent{})
	if !apierrors.IsNotFound(err) || w.bmc.Power() != "Off" {
		t.Errorf("agent: %v, power %s", err, w.bmc.Power())
	}
	// Events are written beside the work.
	w.eventually("events", func() bool {
		reasons := w.reasons("w0")
		return strings.Contains(reasons, "Drain") && strings.Contains(reasons, "AgentRemoved")
	})
	w.Edit(machine, func() { machine.Finalizers = nil })
}

// TestIntegrationWithoutBMC is a host that people switch.
func TestIntegrationWithoutBMC(t *testing.T) {
	w := start(t)
	w.declare(func(h *metal3v1alpha1.BareMetalHost) { h.Spec.BMC = metal3v1alpha1.BMCDetails{} })
	w.eventually("instruction", func() bool {
		return strings.HasPrefix(w.read().Annotations[api.InstructionAnnotation], "boot host w0 (MAC "+mac+") from http://192.0.2.1:8080/byapikey/")
	})
	w.eventually("event", func() bool { return strings.Contains(w.reasons("w0"), "PeopleNeeded") })
	if reasons := w.reasons("w0"); strings.Contains(reasons, "byapikey") {
		t.Errorf("an Event has a URL with a token: %s", reasons)
	}
	w.discover()
	w.eventually("approved", func() bool { return w.state(api.StateKnownUnbound).Spec.Approved })
	w.eventually("no instruction", func() bool { return w.read().Annotations[api.InstructionAnnotation] == "" })
	w.install()
	w.edit(func(a *agentv1beta1.Agent) {
		a.Spec.ClusterDeploymentName, a.Spec.IgnitionEndpointTokenReference = nil, nil
	})
	w.state(api.StateReclaiming)
	w.agent(func(a *agentv1beta1.Agent) error { host.ReclaimEnded(a, false, "no disk", time.Now()); return nil })
	w.eventually("instruction for the agent", func() bool {
		found := conditionsv1.FindStatusCondition(w.state(api.StateUnbindingPendingUserAction).Status.Conditions, api.PowerControlledCondition)
		return found != nil && found.Status == corev1.ConditionFalse && strings.HasPrefix(found.Message, "Boot host rack1-w0 (MAC "+mac+") from http://192.0.2.1")
	})
	w.discover()
	w.eventually("nothing to do", func() bool {
		found := conditionsv1.FindStatusCondition(w.state(api.StateKnownUnbound).Status.Conditions, api.PowerControlledCondition)
		return found != nil && found.Reason == api.PowerNoBMCReason
	})
	if h := w.read(); h.Status.ErrorCount != 0 || h.Status.Provisioning.State != metal3v1alpha1.StateUnmanaged {
		t.Errorf("%+v", h.Status)
	}
}

// TestIntegrationPolicy is a host that nobody declared: it waits, until a policy of its InfraEnv approves it.
func TestIntegrationPolicy(t *testing.T) {
	w := start(t)
	infraEnv := &agentv1beta1.InfraEnv{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
	policy := func(value string) {
		w.Edit(infraEnv, func() { metav1.SetMetaDataAnnotation(&infraEnv.ObjectMeta, api.ApproveCIDRsAnnotation, value) })
	}
	policies := func(status corev1.ConditionStatus, words string) func() bool {
		return func() bool {
			w.Read(infraEnv)
			found := conditionsv1.FindStatusCondition(infraEnv.Status.Conditions, api.ApprovalPoliciesCondition)
			return found != nil && found.Status == status && strings.Contains(found.Message, words) && infraEnv.Status.ISODownloadURL != ""
		}
	}
	stranger := &agentv1beta1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "c0ffee00-0000-4000-8000-000000000002", Labels: map[string]string{api.InfraEnvLabel: "default"}}}
	w.Must(w.Create(t.Context(), stranger))
	policy("10.7.0.9/24")
	w.eventually("a bad policy is said so", policies(corev1.ConditionFalse, "write 10.7.0.0/24"))
	w.Read(stranger)
	if stranger.Spec.Approved {
		t.Error("a bad policy approves")
	}
	policy("10.7.0.0/24")
	w.eventually("the policy is in force", policies(corev1.ConditionTrue, api.ApproveCIDRsAnnotation))
	w.eventually("approved by policy", func() bool {
		w.Read(stranger)
		return stranger.Spec.Approved && strings.Contains(w.reasons(stranger.Name), "ApprovedByPolicy: approved by policy "+api.ApproveCIDRsAnnotation)
	})
}

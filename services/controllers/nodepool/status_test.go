package nodepool

import (
	"strings"
	"testing"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

func TestProgress(t *testing.T) {
	for _, c := range []struct {
		name                       string
		want                       int32
		total, upToDate, available int32
		stale                      bool
		before                     string
		ready                      string
		version                    string
		updatingVersion, updating  bool
	}{
		{name: "new", want: 2, ready: "ScalingUp"},
		{name: "made", want: 2, total: 2, upToDate: 2, ready: "WaitingForAvailableMachines", version: "1.36.3"},
		{name: "done", want: 2, total: 2, upToDate: 2, available: 2, ready: "AsExpected", version: "1.36.3"},
		{name: "status of an older spec", want: 2, total: 2, upToDate: 2, available: 2, stale: true, ready: "WaitingForAvailableMachines"},
		{name: "none wanted", ready: "AsExpected", version: "1.36.3"},
		{name: "scaling down", want: 1, total: 2, upToDate: 2, available: 2, before: "1.36.3", ready: "ScalingDown", version: "1.36.3"},
		{name: "new version", want: 2, total: 2, upToDate: 1, available: 1, before: "1.36.2", ready: "WaitingForAvailableMachines",
			version: "1.36.2", updatingVersion: true},
		{name: "new config", want: 2, total: 2, upToDate: 1, available: 1, before: "1.36.3", ready: "WaitingForAvailableMachines",
			version: "1.36.3", updating: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &scope{pool: &hypershiftv1beta1.NodePool{}, release: release{version: "1.36.3"}, hash: "12345678"}
			s.pool.Spec.Replicas = ptr.To(c.want)
			s.pool.Status.Version = c.before
			deployment := &clusterv1.MachineDeployment{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
			deployment.Status = clusterv1.MachineDeploymentStatus{
				ObservedGeneration: 2, Replicas: ptr.To(c.total), UpToDateReplicas: ptr.To(c.upToDate), AvailableReplicas: ptr.To(c.available),
			}
			if c.stale {
				deployment.Status.ObservedGeneration = 1
			}
			s.readiness(deployment)
			s.progress(deployment)
			if got := s.find(hypershiftv1beta1.NodePoolReadyConditionType).Reason; got != c.ready {
				t.Errorf("ready %s", got)
			}
			if s.pool.Status.Version != c.version || s.pool.Status.Replicas != c.available {
				t.Errorf("version %q, replicas %d", s.pool.Status.Version, s.pool.Status.Replicas)
			}
			if s.isTrue(hypershiftv1beta1.NodePoolUpdatingVersionConditionType) != c.updatingVersion ||
				s.isTrue(hypershiftv1beta1.NodePoolUpdatingConfigConditionType) != c.updating {
				t.Errorf("conditions %v", s.pool.Status.Conditions)
			}
		})
	}
}

func TestSummarize(t *testing.T) {
	machine := func(status metav1.ConditionStatus, reason string) clusterv1.Machine {
		m := clusterv1.Machine{ObjectMeta: metav1.ObjectMeta{Name: "m"}}
		if status != "" {
			m.Status.Conditions = []metav1.Condition{{Type: "X", Status: status, Reason: reason, Message: "* one\n  * two"}}
		}
		return m
	}
	for _, c := range []struct {
		name     string
		replicas int32
		machines []clusterv1.Machine
		status   corev1.ConditionStatus
		reason   string
		message  string
	}{
		{"none wanted", 0, nil, corev1.ConditionTrue, "AsExpected", "NodePool set to no replicas"},
		{"none made", 1, nil, corev1.ConditionFalse, "NotFound", "No Machines are created"},
		{"all", 1, []clusterv1.Machine{machine("True", "Ready")}, corev1.ConditionTrue, "AsExpected", "All is well"},
		{"one of two", 2, []clusterv1.Machine{machine("True", "Ready"), machine("False", "NoSuitableAgents")}, corev1.ConditionFalse,
			"NoSuitableAgents", "1 of 2 machines are not ready; Machine m: NoSuitableAgents: * one * two"},
		{"silent", 1, []clusterv1.Machine{machine("", "")}, corev1.ConditionFalse, "NotReported", "1 of 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &scope{pool: &hypershiftv1beta1.NodePool{}}
			s.pool.Spec.Replicas = ptr.To(c.replicas)
			s.summarize("Y", "X", c.machines)
			if got := s.find("Y"); got.Status != c.status || got.Reason != c.reason || !strings.Contains(got.Message, c.message) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestSetKeepsTime(t *testing.T) {
	s := &scope{pool: &hypershiftv1beta1.NodePool{}}
	s.no("X", "A", "")
	long := metav1.NewTime(s.find("X").LastTransitionTime.Add(-1e12))
	s.find("X").LastTransitionTime = long
	s.no("X", "B", "other words")
	if !s.find("X").LastTransitionTime.Equal(&long) {
		t.Error("the time changed with the reason")
	}
	s.yes("X", "B", "")
	if s.find("X").LastTransitionTime.Equal(&long) {
		t.Error("the time stayed though the status changed")
	}
}

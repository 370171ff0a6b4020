package approval_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/approval"
)

const joinToken = "0123456789abcdef"

type peer struct{ from, token string }

func (p peer) Peer(string) (netip.Addr, string) {
	from, err := netip.ParseAddr(p.from)
	if err != nil {
		return netip.Addr{}, p.token
	}
	return from, p.token
}

func TestApproval(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "hosts", Name: "join"}, Data: map[string][]byte{"token": []byte(joinToken)}}
	weak := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "hosts", Name: "weak"}, Data: map[string][]byte{"token": []byte("x")}}
	for _, c := range []struct {
		name     string
		policies map[string]string
		peer     peer
		// event is part of the Event's text, empty when the host is not approved.
		event string
	}{
		{"nobody's policy", nil, peer{"10.7.0.9", joinToken}, ""},
		{"network", map[string]string{api.ApproveCIDRsAnnotation: "10.7.0.0/24"}, peer{"10.7.0.9", ""}, "policy slipway.io/approve-cidrs of InfraEnv hosts/env: it registered from 10.7.0.9"},
		{"not heard yet", map[string]string{api.ApproveCIDRsAnnotation: "10.7.0.0/24"}, peer{}, ""},
		{"serial", map[string]string{api.ApproveSerialsAnnotation: "S0 S1"}, peer{}, "approve-serials of InfraEnv hosts/env: its serial number S1"},
		{"token", map[string]string{api.ApproveTokenAnnotation: "join"}, peer{"fd00::9", joinToken}, "approve-token-secret of InfraEnv hosts/env: it has shown the token of Secret join"},
		{"wrong token", map[string]string{api.ApproveTokenAnnotation: "join"}, peer{"fd00::9", "0123456789abcdeg"}, ""},
		{"weak token", map[string]string{api.ApproveTokenAnnotation: "weak"}, peer{"fd00::9", "x"}, ""},
		{"no Secret", map[string]string{api.ApproveTokenAnnotation: "none"}, peer{"fd00::9", ""}, ""},
		{"one bad value stops all", map[string]string{api.ApproveSerialsAnnotation: "S1", api.ApproveCIDRsAnnotation: "10.7.0.9"}, peer{"10.7.0.9", ""}, ""},
	} {
		agent := &agentv1beta1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "hosts", Name: "a", Labels: map[string]string{api.InfraEnvLabel: "env"}}}
		agent.Status.Inventory.SystemVendor.SerialNumber = "S1"
		infraEnv := &agentv1beta1.InfraEnv{ObjectMeta: metav1.ObjectMeta{Namespace: "hosts", Name: "env", Annotations: c.policies}}
		scheme, err := api.Scheme()
		if err != nil {
			t.Fatal(err)
		}
		kube := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(agent, infraEnv).WithObjects(agent, infraEnv, secret, weak).Build()
		recorder := events.NewFakeRecorder(5)
		r := &approval.Reconciler{Client: kube, Peers: c.peer, Events: recorder}
		if _, err := r.Reconcile(context.Background(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(agent)}); err != nil {
			t.Fatal(err)
		}
		if err := kube.Get(t.Context(), client.ObjectKeyFromObject(agent), agent); err != nil {
			t.Fatal(err)
		}
		event := ""
		if len(recorder.Events) > 0 {
			event = <-recorder.Events
		}
		if agent.Spec.Approved != (c.event != "") || !strings.Contains(event, c.event) || (event == "") != (c.event == "") || strings.Contains(event, joinToken) {
			t.Errorf("%s: approved %t, event %q", c.name, agent.Spec.Approved, event)
		}
	}
}

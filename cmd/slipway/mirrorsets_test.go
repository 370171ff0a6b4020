package main

import (
	"net/netip"
	"strings"
	"testing"

	configv1 "github.com/openshift/api/config/v1"
	operatorv1alpha1 "github.com/openshift/api/operator/v1alpha1"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/slipway-io/slipway/services/api"
)

func sets(t *testing.T) *mirrorSets {
	t.Helper()
	scheme, err := api.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	objects := []client.Object{
		&configv1.ImageDigestMirrorSet{ObjectMeta: named("idms"), Spec: configv1.ImageDigestMirrorSetSpec{ImageDigestMirrors: []configv1.ImageDigestMirrors{
			{Source: "registry.slipway.io/release", Mirrors: []configv1.ImageMirror{"registry.site.example:5000/m/openshift/release"}},
			{Source: "quay.io/far", Mirrors: []configv1.ImageMirror{"far.example:5000/far", "10.7.0.2:5000/near"}},
			{Source: "not a host", Mirrors: []configv1.ImageMirror{"registry.site.example:5000/x"}},
		}}},
		&configv1.ImageTagMirrorSet{ObjectMeta: named("itms"), Spec: configv1.ImageTagMirrorSetSpec{ImageTagMirrors: []configv1.ImageTagMirrors{
			{Source: "[fd99::1]:5000/team", Mirrors: []configv1.ImageMirror{"[fd07:0::2]:5000/m/team"}, MirrorSourcePolicy: configv1.NeverContactSource},
		}}},
		&operatorv1alpha1.ImageContentSourcePolicy{ObjectMeta: named("icsp"), Spec: operatorv1alpha1.ImageContentSourcePolicySpec{
			RepositoryDigestMirrors: []operatorv1alpha1.RepositoryDigestMirrors{{Source: "docker.io/library", Mirrors: []string{"registry.site.example:5000/m/library"}}},
		}},
		&hypershiftv1beta1.HostedCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "clusters", Name: "demo"}, Spec: hypershiftv1beta1.HostedClusterSpec{
			ImageContentSources: []hypershiftv1beta1.ImageContentSource{{Source: "own.example/app", Mirrors: []string{"registry.site.example:5000/m/app"}}},
		}},
	}
	a := &appliance{config: &api.Config{Domain: "site.example", Ports: api.Ports{Registry: 5000}, Interfaces: map[string]api.Interface{
		"eth0": {Addresses: []netip.Prefix{netip.MustParsePrefix("10.7.0.2/24"), netip.MustParsePrefix("fd07::2/64")}},
	}}}
	return a.newMirrorSets(fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build())
}

func TestImagesAreFoundByMirrorSets(t *testing.T) {
	m := sets(t)
	for _, c := range []struct {
		view, host, repository string
		byDigest               bool
		here, elsewhere        string
	}{
		{"clusters-demo", "registry.slipway.io", "release/etcd", true, "m/openshift/release/etcd release/etcd", ""},
		{"clusters-demo", "registry.slipway.io", "release/etcd", false, "release/etcd", ""},
		{"clusters-demo", "", "release/etcd", false, "release/etcd", ""},
		{"clusters-demo", "quay.io", "far/app", true, "near/app", "https://far.example:5000/v2/far/app"},
		{"clusters-demo", "quay.io", "other/app", true, "", "https://quay.io/v2/other/app"},
		{"clusters-demo", "[fd99::1]:5000", "team/app", false, "m/team/app", ""}, // never the source
		{"clusters-demo", "[fd99::1]:5000", "other/app", false, "", "https://[fd99::1]:5000/v2/other/app"},
		{"clusters-demo", "docker.io", "library/busybox", true, "m/library/busybox", "https://registry-1.docker.io/v2/library/busybox"},
		{"clusters-demo", "own.example", "app", true, "m/app", "https://own.example/v2/app"},
		{"clusters-other", "own.example", "app", true, "", "https://own.example/v2/app"}, // of another cluster
	} {
		got, err := m.resolve(t.Context(), c.view, c.host, c.repository, c.byDigest)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Join(got.Here, " ") != c.here || got.Elsewhere != c.elsewhere {
			t.Errorf("%s %s/%s, by digest %t: %+v, want %s, %s", c.view, c.host, c.repository, c.byDigest, got, c.here, c.elsewhere)
		}
	}
	for ref, want := range map[string]string{
		"own.example/app@sha256:" + strings.Repeat("a", 64): "m/app",
		"[fd99::1]:5000/team/app:v1":                        "m/team/app",
		"release/release:1":                                 "",
	} {
		if got, _, err := m.mirrorsOf(t.Context(), "clusters-demo", ref); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v, want %s", ref, got, err, want)
		}
	}
}

func TestBadSetsAreNamed(t *testing.T) {
	m := sets(t)
	err := m.CheckSources([]hypershiftv1beta1.ImageContentSource{{Source: "quay.io", Mirrors: []string{"fd07::2/x"}}})
	if err == nil || !strings.Contains(err.Error(), "spec.imageContentSources[0].mirrors[0]: ") {
		t.Errorf("imageContentSources: %v", err)
	}
	set := &configv1.ImageDigestMirrorSet{}
	if err := m.kube.Get(t.Context(), client.ObjectKey{Name: "idms"}, set); err != nil {
		t.Fatal(err)
	}
	if err := m.CheckSet(set); err == nil || !strings.Contains(err.Error(), "spec.imageDigestMirrors[2].source: ") {
		t.Errorf("ImageDigestMirrorSet: %v", err)
	}
}

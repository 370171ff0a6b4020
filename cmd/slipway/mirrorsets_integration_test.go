//go:build integration

package main

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	configv1 "github.com/openshift/api/config/v1"
	operatorv1alpha1 "github.com/openshift/api/operator/v1alpha1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/mirrorset"
	"github.com/slipway-io/slipway/test/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// setsBench is a real API in which people write mirror sets, and an appliance that goes by them.
type setsBench struct {
	*world.World
	sets *mirrorSets
}

// start is a start of the appliance, as far as mirror sets are concerned; stop is its end.
func (b *setsBench) start() (stop func()) {
	mgr := b.Manager(world.Log(b.T))
	a := &appliance{config: &api.Config{Domain: "site.example", Ports: api.Ports{Registry: 5000}, Interfaces: map[string]api.Interface{
		"eth0": {Addresses: []netip.Prefix{netip.MustParsePrefix("10.7.0.2/24"), netip.MustParsePrefix("fd07::2/64")}},
	}}}
	b.sets = a.newMirrorSets(mgr.GetClient())
	b.Must((&mirrorset.Reconciler{Client: mgr.GetClient(), Sets: b.sets}).SetupWithManager(mgr))
	return b.Manage(mgr)
}

func (b *setsBench) eventually(what string, is func() bool) {
	b.Helper()
	b.Eventually(what, is, func() string { return "" })
}

// goes waits until an image is looked for in the repositories of this registry that are named, in this order, and then elsewhere.
func (b *setsBench) goes(host, repository string, byDigest bool, here, elsewhere string) {
	b.Helper()
	b.eventually(host+"/"+repository+" is looked for in "+here+" and "+elsewhere, func() bool {
		places, err := b.sets.resolve(b.Context(), "clusters-demo", host, repository, byDigest)
		return err == nil && strings.Join(places.Here, " ") == here && places.Elsewhere == elsewhere
	})
}

// events are those that name an object, by what they say.
func (b *setsBench) events(kind, name string) (notes []string) {
	b.Helper()
	list := &eventsv1.EventList{}
	b.Must(b.List(b.Context(), list))
	for _, event := range list.Items {
		if event.Regarding.Kind == kind && event.Regarding.Name == name && event.Reason == mirrorset.ReasonInvalid {
			notes = append(notes, event.Note)
		}
	}
	return notes
}

func digestSet(name string, entries ...configv1.ImageDigestMirrors) *configv1.ImageDigestMirrorSet {
	return &configv1.ImageDigestMirrorSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: configv1.ImageDigestMirrorSetSpec{ImageDigestMirrors: entries}}
}

func tagSet(name string, entries ...configv1.ImageTagMirrors) *configv1.ImageTagMirrorSet {
	return &configv1.ImageTagMirrorSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: configv1.ImageTagMirrorSetSpec{ImageTagMirrors: entries}}
}

func contentPolicy(name string, entries ...operatorv1alpha1.RepositoryDigestMirrors) *operatorv1alpha1.ImageContentSourcePolicy {
	return &operatorv1alpha1.ImageContentSourcePolicy{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: operatorv1alpha1.ImageContentSourcePolicySpec{RepositoryDigestMirrors: entries}}
}

func TestIntegrationMirrorSets(t *testing.T) {
	b := &setsBench{World: world.Start(t)}
	stop := b.start()
	t.Run("made, changed and deleted", func(t *testing.T) { b.with(t).comeAndGo() })
	t.Run("refused at the door", func(t *testing.T) { b.with(t).refused() })
	t.Run("what can't be honoured is said", func(t *testing.T) { b.with(t).bad() })
	stop()
	b.start()
	t.Run("after a restart", func(t *testing.T) {
		b := b.with(t)
		b.goes("quay.io", "kept/app", true, "m/kept/app", "https://quay.io/v2/kept/app")
		b.goes("quay.io", "good/app", true, "m/good/app", "https://quay.io/v2/good/app")
	})
}

// with is the same in a subtest.
func (b *setsBench) with(t *testing.T) *setsBench { return &setsBench{World: b.With(t), sets: b.sets} }

// comeAndGo: each kind counts from the moment it is written, as it is changed, until it is deleted.
func (b *setsBench) comeAndGo() {
	b.Must(b.Create(b.Context(), digestSet("kept", configv1.ImageDigestMirrors{Source: "quay.io/kept", Mirrors: []configv1.ImageMirror{"registry.site.example:5000/m/kept"}})))
	digests := digestSet("team", configv1.ImageDigestMirrors{Source: "quay.io/team", Mirrors: []configv1.ImageMirror{"registry.site.example:5000/m/team"}})
	b.Must(b.Create(b.Context(), digests))
	b.goes("quay.io", "team/app", true, "m/team/app", "https://quay.io/v2/team/app")
	b.goes("quay.io", "team/app", false, "", "https://quay.io/v2/team/app")
	digests.Spec.ImageDigestMirrors[0].Mirrors = []configv1.ImageMirror{"[fd07::2]:5000/n/team", "far.example/team"}
	digests.Spec.ImageDigestMirrors[0].MirrorSourcePolicy = configv1.NeverContactSource
	b.Must(b.Update(b.Context(), digests))
	b.goes("quay.io", "team/app", true, "n/team/app", "https://far.example/v2/team/app")

	tags := tagSet("team", configv1.ImageTagMirrors{Source: "quay.io/team/app", Mirrors: []configv1.ImageMirror{"10.7.0.2:5000/t/app"}})
	b.Must(b.Create(b.Context(), tags))
	b.goes("quay.io", "team/app", false, "t/app", "https://quay.io/v2/team/app")

	policy := contentPolicy("old", operatorv1alpha1.RepositoryDigestMirrors{Source: "docker.io/library", Mirrors: []string{"registry.site.example:5000/m/library"}})
	b.Must(b.Create(b.Context(), policy))
	b.goes("docker.io", "library/busybox", true, "m/library/busybox", "https://registry-1.docker.io/v2/library/busybox")

	for _, set := range []client.Object{digests, tags, policy} {
		b.Must(b.Delete(b.Context(), set))
	}
	for _, byDigest := range []bool{true, false} {
		b.goes("quay.io", "team/app", byDigest, "", "https://quay.io/v2/team/app")
	}
	b.goes("docker.io", "library/busybox", true, "", "https://registry-1.docker.io/v2/library/busybox")
}

// refused: what the kinds' schemas see, kubectl says.
func (b *setsBench) refused() {
	for _, set := range []client.Object{
		digestSet("door", configv1.ImageDigestMirrors{Source: "https://quay.io/team", Mirrors: []configv1.ImageMirror{"registry.site.example:5000/m"}}),
		digestSet("door", configv1.ImageDigestMirrors{Source: "quay.io/team:v1", Mirrors: []configv1.ImageMirror{"registry.site.example:5000/m"}}),
		tagSet("door", configv1.ImageTagMirrors{Source: "quay.io/team", Mirrors: []configv1.ImageMirror{"fd07::2/m"}}),
	} {
		if err := b.Create(b.Context(), set); err == nil || !strings.Contains(err.Error(), "Mirrors[0].") {
			b.Errorf("%T: %v", set, err)
		}
	}
}

// bad: what the schemas let through and can't be honoured is in an Event, with its place; the set's other entries count.
func (b *setsBench) bad() {
	policy := contentPolicy("half", operatorv1alpha1.RepositoryDigestMirrors{Source: "quay.io/good", Mirrors: []string{"registry.site.example:5000/m/good"}},
		operatorv1alpha1.RepositoryDigestMirrors{Source: "https://quay.io/" + strings.Repeat("é", 900), Mirrors: []string{"registry.site.example:5000/m/bad"}})
	tags := tagSet("half", configv1.ImageTagMirrors{Source: "[::ffff]:99999/team", Mirrors: []configv1.ImageMirror{"[1:2]/m"}})
	for _, set := range []client.Object{policy, tags} {
		b.Must(b.Create(b.Context(), set))
	}
	b.goes("quay.io", "good/app", true, "m/good/app", "https://quay.io/v2/good/app")
	for kind, want := range map[string]string{
		"ImageContentSourcePolicy": "spec.repositoryDigestMirrors[1].source: ", "ImageTagMirrorSet": "spec.imageTagMirrors[0].mirrors[0]: ",
	} {
		b.eventually("an Event of the "+kind, func() bool {
			notes := b.events(kind, "half")
			return len(notes) == 1 && strings.Contains(notes[0], want)
		})
	}
	policy.Spec.RepositoryDigestMirrors = policy.Spec.RepositoryDigestMirrors[:1]
	b.Must(b.Update(b.Context(), policy))
	b.Must(b.Delete(b.Context(), tags))
	if notes := b.events("ImageDigestMirrorSet", "kept"); len(notes) > 0 {
		b.Errorf("a good set has Events: %v", notes)
	}
}

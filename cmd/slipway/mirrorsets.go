package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	configv1 "github.com/openshift/api/config/v1"
	operatorv1alpha1 "github.com/openshift/api/operator/v1alpha1"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/mirror/mirrorset"
	"github.com/slipway-io/slipway/mirror/registry"
	"github.com/slipway-io/slipway/mirror/release"
	"github.com/slipway-io/slipway/mirror/remote"
	"github.com/slipway-io/slipway/services/controllers/hostedcluster"
)

// mirrorSets applies the mirror sets of the management API as they are at the moment; a view is a cluster, named by the namespace of its control plane.
// They are read from the manager's cache for each question, so a change counts at once and nothing has to be told to anybody.
type mirrorSets struct {
	kube client.Reader
	own  map[string]bool // the registry's names, host:port
}

func (a *appliance) newMirrorSets(kube client.Reader) *mirrorSets {
	m := &mirrorSets{kube: kube, own: map[string]bool{release.Host: true, a.registryHost(): true}}
	for _, name := range append(texts(a.config.Addresses()), "slipway."+a.config.Domain) {
		m.own[net.JoinHostPort(name, strconv.Itoa(a.config.Ports.Registry))] = true
	}
	return m
}

// rules of a view: the sets of the site and, where it is a cluster's, its imageContentSources. What can't be honoured is left out; the objects say so.
func (m *mirrorSets) rules(ctx context.Context, view string) (mirrorset.Rules, error) {
	digests, tags, old := &configv1.ImageDigestMirrorSetList{}, &configv1.ImageTagMirrorSetList{}, &operatorv1alpha1.ImageContentSourcePolicyList{}
	clusters := &hypershiftv1beta1.HostedClusterList{}
	for _, list := range []client.ObjectList{digests, tags, old, clusters} {
		if err := m.kube.List(ctx, list); err != nil {
			return mirrorset.Rules{}, fmt.Errorf("read mirror sets: %w", err)
		}
	}
	var entries []mirrorset.Entry
	for i := range digests.Items {
		entries = append(entries, mirrorEntries(&digests.Items[i])...)
	}
	for i := range tags.Items {
		entries = append(entries, mirrorEntries(&tags.Items[i])...)
	}
	for i := range old.Items {
		entries = append(entries, mirrorEntries(&old.Items[i])...)
	}
	for i := range clusters.Items {
		if hostedcluster.Namespace(&clusters.Items[i]) == view {
			entries = append(entries, contentSources(clusters.Items[i].Spec.ImageContentSources)...)
		}
	}
	rules, _ := mirrorset.Merge(entries)
	return rules, nil
}

// mirrorEntries of one of the kinds of mirror sets.
func mirrorEntries(set client.Object) (entries []mirrorset.Entry) {
	switch set := set.(type) {
	case *configv1.ImageDigestMirrorSet:
		for i, e := range set.Spec.ImageDigestMirrors {
			entries = append(entries, mirrorset.Entry{Path: fmt.Sprintf("spec.imageDigestMirrors[%d]", i), Source: e.Source, Mirrors: plain(e.Mirrors),
				Never: e.MirrorSourcePolicy == configv1.NeverContactSource})
		}
	case *configv1.ImageTagMirrorSet:
		for i, e := range set.Spec.ImageTagMirrors {
			entries = append(entries, mirrorset.Entry{Path: fmt.Sprintf("spec.imageTagMirrors[%d]", i), Source: e.Source, Mirrors: plain(e.Mirrors),
				ByTag: true, Never: e.MirrorSourcePolicy == configv1.NeverContactSource})
		}
	case *operatorv1alpha1.ImageContentSourcePolicy:
		for i, e := range set.Spec.RepositoryDigestMirrors {
			entries = append(entries, mirrorset.Entry{Path: fmt.Sprintf("spec.repositoryDigestMirrors[%d]", i), Source: e.Source, Mirrors: e.Mirrors})
		}
	}
	return entries
}

func contentSources(sources []hypershiftv1beta1.ImageContentSource) (entries []mirrorset.Entry) {
	for i, e := range sources {
		entries = append(entries, mirrorset.Entry{Path: fmt.Sprintf("spec.imageContentSources[%d]", i), Source: e.Source, Mirrors: e.Mirrors})
	}
	return entries
}

func plain[T ~string](in []T) (out []string) {
	for _, text := range in {
		out = append(out, string(text))
	}
	return out
}

func checkEntries(entries []mirrorset.Entry) error {
	var faults []error
	for _, e := range entries {
		faults = append(faults, e.Check())
	}
	return errors.Join(faults...)
}

// CheckSources implements hostedcluster.Mirrors.
func (m *mirrorSets) CheckSources(sources []hypershiftv1beta1.ImageContentSource) error {
	return checkEntries(contentSources(sources))
}

// CheckSet implements mirrorset.Sets of the controllers.
func (m *mirrorSets) CheckSet(set client.Object) error { return checkEntries(mirrorEntries(set)) }

// isOwn tells whether a host is this registry.
func (m *mirrorSets) isOwn(host string) bool {
	normal, err := mirrorset.Host(host)
	return err == nil && m.own[normal]
}

// resolve implements registry.Resolve.
func (m *mirrorSets) resolve(ctx context.Context, view, host, repository string, byDigest bool) (registry.Places, error) {
	rules, err := m.rules(ctx, view)
	if err != nil {
		// Clients come back: the appliance has just started, and its API answers soon.
		return registry.Places{}, fmt.Errorf("%w: %w", registry.ErrBusy, err)
	}
	if host == "" {
		host = release.Host
	}
	found := rules.Places(remote.Repository{Host: host, Path: repository}, byDigest)
	places := registry.Places{Why: "no mirror set sends it elsewhere"}
	for _, mirror := range found.Mirrors {
		switch {
		case m.isOwn(mirror.Host):
			places.Here = append(places.Here, mirror.Path)
		case places.Elsewhere == "":
			places.Elsewhere = remote.URL(mirror)
		}
	}
	switch {
	case !found.Source:
		places.Why = "mirrorSourcePolicy NeverContactSource forbids to ask its own registry"
	case m.isOwn(host):
		places.Here = append(places.Here, repository)
	case places.Elsewhere == "":
		places.Elsewhere = remote.URL(remote.Repository{Host: host, Path: repository})
	}
	return places, nil
}

// mirrorsOf implements release.Mirrors.
func (m *mirrorSets) mirrorsOf(ctx context.Context, view, ref string) (repositories []string, own bool, err error) {
	image, err := remote.ParseReference(ref)
	if err != nil {
		return nil, true, nil // without a host it is the site's
	}
	rules, err := m.rules(ctx, view)
	if err != nil {
		return nil, false, err
	}
	found := rules.Places(image.Repository, image.Digest != "")
	for _, mirror := range found.Mirrors {
		if m.isOwn(mirror.Host) {
			repositories = append(repositories, mirror.Path)
		}
	}
	return repositories, found.Source, nil
}

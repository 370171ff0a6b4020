package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/slipway-io/slipway/mirror/graph"
	"github.com/slipway-io/slipway/mirror/imageset"
	"github.com/slipway-io/slipway/mirror/release"
	"github.com/slipway-io/slipway/mirror/remote"
	"github.com/slipway-io/slipway/mirror/signature"
)

const (
	payloadRepository   = "openshift/release-images"
	componentRepository = "openshift/release"
	graphRepository     = "openshift/graph-image"
	bootImages          = "release-manifests/0000_50_installer_coreos-bootimages.yaml"
	maxConfig           = 4 << 20
)

// ReleaseOptions say how releases are found and verified.
type ReleaseOptions struct {
	// Graph is a file or an address of update graphs; without it releases are named by reference.
	Graph string
	// GraphImage is mirrored for an UpdateService.
	GraphImage string
	// Signatures is a store of signatures: an address or a directory.
	Signatures string
	// Keys that must have signed a release; IgnoreSignatures does without.
	Keys             signature.Keys
	IgnoreSignatures bool
	// HTTP asks graphs and signature stores.
	HTTP *http.Client
}

// machine is an architecture in the words of release tags.
var machine = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// releases lists the images of all releases of the set. A release that can't be read is a failure of its own.
func (b *builder) releases(ctx context.Context) ([]item, error) {
	if err := b.refuseReleases(); err != nil {
		return nil, err
	}
	payloads, err := b.payloads(ctx)
	if err != nil {
		return nil, err
	}
	var items []item
	for _, payload := range payloads {
		found, err := b.release(ctx, payload)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			b.fail(payload, err)
			continue
		}
		items = append(items, found...)
	}
	if b.set.Platform.Graph {
		ref, err := remote.ParseReference(b.Release.GraphImage)
		if err != nil {
			return nil, err
		}
		it := item{origin: b.Release.GraphImage, category: Release, ref: ref, repository: b.fold(graphRepository), tag: "latest", role: Graph}
		b.relocate(&it)
		items = append(items, it)
	}
	return items, nil
}

// refuseReleases refuses what can't be honoured, with its path.
func (b *builder) refuseReleases() error {
	p, path := b.set.Platform, b.root()+".platform"
	switch {
	case len(p.Channels) > 0 && b.Release.Graph == "":
		return fmt.Errorf("%w: %s.channels: channels want an update graph: name one with --update-graph (a file or an address), or name the release in %s.release", imageset.ErrInvalid, path, path)
	case p.Release != "" && b.set.Delete && !strings.Contains(p.Release, "@"):
		return fmt.Errorf("%w: %s.release: name the release to delete by digest", imageset.ErrInvalid, path)
	case p.Graph && b.set.Delete:
		return fmt.Errorf("%w: %s.graph: the graph's image is not deleted with releases; take it out", imageset.ErrInvalid, path)
	case p.Graph && b.Release.GraphImage == "":
		return fmt.Errorf("%w: %s.graph: the image with the graph's data is not built here; name one with --graph-image", imageset.ErrInvalid, path)
	case (p.Release != "" || len(p.Channels) > 0) && !b.set.Delete && b.Release.Keys.Empty() && !b.Release.IgnoreSignatures:
		return fmt.Errorf("%w: %s: releases are checked against keys: name them with --release-key, or take --ignore-release-signature", imageset.ErrInvalid, path)
	}
	return nil
}

// payloads lists the release images that the set names.
func (b *builder) payloads(ctx context.Context) ([]item, error) {
	p := b.set.Platform
	add := func(items []item, text string, parse func(string) (remote.Reference, error)) ([]item, error) {
		ref, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %s.platform: release %.200q: %w", imageset.ErrInvalid, b.root(), text, err)
		}
		if slices.ContainsFunc(items, func(it item) bool { return it.origin == text }) {
			return items, nil
		}
		it := item{origin: text, category: Release, ref: ref, role: Payload, platforms: p.Platforms, repository: b.fold(payloadRepository)}
		b.relocate(&it)
		return append(items, it), nil
	}
	if p.Release != "" {
		return add(nil, p.Release, remote.ParseSource)
	}
	architectures := p.Architectures
	if len(architectures) == 0 {
		architectures = []string{"amd64"}
	}
	if len(p.Platforms) > 0 {
		architectures = []string{"multi"}
	}
	var items []item
	for i, channel := range p.Channels {
		for _, architecture := range architectures {
			g, err := graph.Load(ctx, b.Release.HTTP, b.Release.Graph, channel.Name, architecture)
			if err != nil {
				return nil, err
			}
			nodes, err := g.Select(graph.Range{Min: channel.MinVersion, Max: channel.MaxVersion, Full: channel.Full, Shortest: channel.ShortestPath})
			if err != nil {
				return nil, fmt.Errorf("%s.platform.channels[%d]: %w", b.root(), i, err)
			}
			for _, node := range nodes {
				if items, err = add(items, node.Payload, remote.ParseReference); err != nil {
					return nil, err
				}
			}
		}
	}
	return items, nil
}

// release verifies a release image and lists its images, the release image itself last: it needs all the others.
func (b *builder) release(ctx context.Context, it item) ([]item, error) {
	digest, err := b.digest(ctx, it)
	if err != nil {
		return nil, err
	}
	if err := b.verify(ctx, digest); err != nil {
		return nil, err
	}
	payload, architecture, err := b.readPayload(ctx, it, digest)
	if err != nil {
		return nil, err
	}
	version := payload.Version + "-" + architecture
	it.ref.Digest, it.owner = digest, payload.Version
	it.tag = strings.ReplaceAll(version, "+", "_")
	var items []item
	for _, name := range slices.Sorted(maps.Keys(payload.Components)) {
		component, err := b.component(payload.Components[name], it, name)
		if err != nil {
			return nil, err
		}
		items = append(items, component)
	}
	if b.set.Platform.KubeVirtContainer {
		boot, err := kubeVirt(payload.Files[bootImages], architecture)
		if err != nil {
			return nil, err
		}
		component, err := b.component(boot, it, "kubevirt")
		if err != nil {
			return nil, err
		}
		items = append(items, component)
	}
	for _, component := range items {
		if component.origin != it.origin {
			it.needs = append(it.needs, component.origin)
		}
	}
	b.mu.Lock()
	b.plan.Releases = append(b.plan.Releases, PlannedRelease{Version: payload.Version, Digest: digest})
	b.mu.Unlock()
	return append(items, it), nil
}

func (b *builder) component(text string, of item, name string) (item, error) {
	ref, err := remote.ParseReference(text)
	if err != nil {
		return item{}, fmt.Errorf("component %s: %w", name, err)
	}
	it := item{origin: text, category: Release, owner: of.owner, ref: ref, platforms: of.platforms,
		repository: b.fold(componentRepository), tag: of.tag + "-" + name}
	b.relocate(&it)
	return it, nil
}

// verify checks the signatures of a release, and keeps the good ones for clusters to check again.
func (b *builder) verify(ctx context.Context, digest string) error {
	if b.Release.IgnoreSignatures || b.set.Delete {
		return nil
	}
	if b.Previous != nil {
		if good, err := b.Release.Keys.Any(b.Previous.Signatures[digest], digest); err == nil {
			b.plan.Signatures[digest] = good
			return nil
		}
	}
	raw, err := signature.Fetch(ctx, b.Release.HTTP, b.Release.Signatures, digest)
	if err != nil {
		return err
	}
	good, err := b.Release.Keys.Any(raw, digest)
	if err != nil {
		return fmt.Errorf("release is not verified: %w", err)
	}
	b.plan.Signatures[digest] = good
	return nil
}

// readPayload reads a release image, of several architectures the first one: they name the same components.
func (b *builder) readPayload(ctx context.Context, it item, digest string) (*release.Payload, string, error) {
	m, err := b.manifest(ctx, it.ref.Repository, digest)
	if err != nil {
		return nil, "", err
	}
	c, err := parse(m)
	if err != nil {
		return nil, "", err
	}
	architecture := ""
	if len(c.Manifests) > 0 {
		architecture = "multi"
		if m, err = b.manifest(ctx, it.ref.Repository, c.Manifests[0].Digest); err == nil {
			c, err = parse(m)
		}
		if err != nil {
			return nil, "", err
		}
	}
	if architecture == "" {
		if architecture, err = b.architecture(ctx, it.ref.Repository, c.Config); err != nil {
			return nil, "", err
		}
	}
	var files []string
	if b.set.Platform.KubeVirtContainer {
		files = append(files, bootImages)
	}
	payload, err := release.ReadPayload(len(c.Layers), func(n int) (io.ReadCloser, error) {
		return b.source.Open(ctx, it.ref.Repository, c.Layers[n], 0)
	}, files...)
	return payload, architecture, err
}

// architecture of an image, in the words of release tags.
func (b *builder) architecture(ctx context.Context, repo remote.Repository, config *remote.Descriptor) (string, error) {
	if config == nil {
		return "", fmt.Errorf("%w: it has no configuration", ErrInvalid)
	}
	raw, err := b.small(ctx, repo, *config)
	if err != nil {
		return "", err
	}
	var image struct {
		Architecture string `json:"architecture"`
	}
	if err := json.Unmarshal(raw, &image); err != nil || image.Architecture == "" {
		return "", fmt.Errorf("%w: its configuration names no architecture", ErrInvalid)
	}
	if name, ok := machine[image.Architecture]; ok {
		return name, nil
	}
	return image.Architecture, nil
}

// small reads a small blob whole.
func (b *builder) small(ctx context.Context, repo remote.Repository, d remote.Descriptor) ([]byte, error) {
	if d.Size > maxConfig {
		return nil, fmt.Errorf("%w: configuration of %d bytes", ErrInvalid, d.Size)
	}
	body, err := b.source.Open(ctx, repo, d, 0)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(body)
	return raw, errors.Join(err, body.Close())
}

// kubeVirt finds the image of the machine OS for KubeVirt in the list of boot images, a ConfigMap whose stream is JSON.
func kubeVirt(raw []byte, architecture string) (string, error) {
	var list struct {
		Data struct {
			Stream string `json:"stream"`
		} `json:"data"`
	}
	var stream struct {
		Architectures map[string]struct {
			Images map[string]struct {
				DigestRef string `json:"digest-ref"`
			} `json:"images"`
		} `json:"architectures"`
	}
	if len(raw) == 0 {
		return "", fmt.Errorf("%w: kubeVirtContainer: the release has no %s", ErrInvalid, bootImages)
	}
	if err := yaml.Unmarshal(raw, &list); err != nil {
		return "", fmt.Errorf("%w: kubeVirtContainer: %s: %w", ErrInvalid, bootImages, err)
	}
	if err := json.Unmarshal([]byte(list.Data.Stream), &stream); err != nil {
		return "", fmt.Errorf("%w: kubeVirtContainer: %s: %w", ErrInvalid, bootImages, err)
	}
	if architecture == "multi" {
		architecture = "x86_64"
	}
	ref := stream.Architectures[architecture].Images["kubevirt"].DigestRef
	if ref == "" {
		return "", fmt.Errorf("%w: kubeVirtContainer: the release names no such image for %s", ErrInvalid, architecture)
	}
	return ref, nil
}

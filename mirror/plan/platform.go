package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-io/slipway/mirror/imageset"
	"github.com/slipway-io/slipway/mirror/remote"
)

// choose keeps the children of the wanted platforms, and what says of itself that it belongs to one of them (attestations).
func choose(children []remote.Descriptor, wanted []imageset.Instance) []remote.Descriptor {
	var chosen []remote.Descriptor
	kept := map[string]bool{}
	for _, child := range children {
		if child.Platform == nil {
			continue
		}
		if slices.ContainsFunc(wanted, func(w imageset.Instance) bool {
			return w.OS == child.Platform.OS && w.Architecture == child.Platform.Architecture
		}) {
			chosen = append(chosen, child)
			kept[child.Digest] = true
		}
	}
	for _, child := range children {
		if subject := child.Annotations["vnd.docker.reference.digest"]; subject != "" && kept[subject] && !kept[child.Digest] {
			chosen = append(chosen, child)
		}
	}
	return chosen
}

func platformName(p *remote.Platform) string {
	if p == nil {
		return "unknown"
	}
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}

func platformNames(children []remote.Descriptor) string {
	var names []string
	for _, child := range children {
		names = append(names, platformName(child.Platform))
	}
	return strings.Join(names, ", ")
}

// rewrite makes an index of the chosen children alone, everything else in it as it was, and returns its digest.
func (b *builder) rewrite(m Manifest, children []remote.Descriptor) (string, error) {
	var index map[string]json.RawMessage
	if err := json.Unmarshal(m.Data, &index); err != nil {
		return "", fmt.Errorf("rewrite index: %w", err)
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(index["manifests"], &entries); err != nil {
		return "", fmt.Errorf("rewrite index: %w", err)
	}
	var kept []json.RawMessage
	for _, entry := range entries {
		var d remote.Descriptor
		if err := json.Unmarshal(entry, &d); err != nil {
			return "", fmt.Errorf("rewrite index: %w", err)
		}
		if slices.ContainsFunc(children, func(c remote.Descriptor) bool { return c.Digest == d.Digest }) {
			kept = append(kept, entry)
		}
	}
	var err error
	if index["manifests"], err = json.Marshal(kept); err != nil {
		return "", fmt.Errorf("rewrite index: %w", err)
	}
	data, err := json.Marshal(index)
	if err != nil {
		return "", fmt.Errorf("rewrite index: %w", err)
	}
	b.keep(remote.Manifest{MediaType: m.MediaType, Digest: remote.Digest(data), Data: data})
	return remote.Digest(data), nil
}

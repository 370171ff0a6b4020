package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/slipway-io/slipway/mirror/imageset"
)

// Filtered is what is left of a catalog.
type Filtered struct {
	// Files by path below the directory of configurations.
	Files map[string][]byte
	// Images that the bundles need, with the package that needs them.
	Images []Image
}

// Image of a bundle.
type Image struct {
	Reference, Package, Bundle string
}

// Filter keeps of a catalog what an image set wants. at is the path of the operator in the image set, for errors.
//
// Without packages every package is kept, with full or with the head of its default channel. A package without channels and versions is kept
// with the head of its default channel, with full entirely; versions choose from the default channel; channels are kept with their head,
// with their versions, or with full entirely.
func Filter(objects []Object, o imageset.Operator, at string) (*Filtered, error) {
	packages, err := sortPackages(objects)
	if err != nil {
		return nil, err
	}
	wanted := o.Packages
	if len(wanted) == 0 {
		for _, name := range slices.Sorted(maps.Keys(packages)) {
			if packages[name].raw != nil {
				wanted = append(wanted, imageset.Package{Name: name})
			}
		}
	}
	f := &Filtered{Files: map[string][]byte{}}
	for i, want := range wanted {
		path := fmt.Sprintf("%s.packages[%d]", at, i)
		p := packages[want.Name]
		if p == nil || p.raw == nil {
			return nil, fmt.Errorf("%w: %s.name: the catalog has no package %q", ErrInvalid, path, want.Name)
		}
		if err := f.add(p, want, o.Full, path); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// choice is a channel with the bundles that are kept of it.
type choice struct {
	channel channel
	kept    map[string]bool
}

func (f *Filtered) add(p *operator, want imageset.Package, full bool, path string) error {
	choices, err := p.choose(want, full, path)
	if err != nil {
		return err
	}
	defaultChannel := want.DefaultChannel
	if defaultChannel == "" {
		defaultChannel = p.defaultChannel
	}
	if !slices.ContainsFunc(choices, func(c choice) bool { return c.channel.name == defaultChannel }) {
		return fmt.Errorf("%w: %s.defaultChannel: the default channel of %s is %q, which is not among those that are kept: %s; name one of these", ErrInvalid,
			path, p.name, defaultChannel, names(choices, func(c choice) string { return c.channel.name }))
	}
	raw, err := set(p.raw, map[string]any{"defaultChannel": defaultChannel})
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := write(&out, raw); err != nil {
		return err
	}
	bundles := map[string]bool{}
	for _, c := range choices {
		entries := c.entries(p)
		raw, err := set(c.channel.raw, map[string]any{"entries": entries})
		if err == nil {
			err = write(&out, raw)
		}
		if err != nil {
			return fmt.Errorf("write channel %s of %s: %w", c.channel.name, p.name, err)
		}
		for name := range c.kept {
			bundles[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(bundles)) {
		b := p.bundles[name]
		if err := write(&out, b.raw); err != nil {
			return fmt.Errorf("write bundle %s: %w", name, err)
		}
		for _, image := range b.images {
			f.Images = append(f.Images, Image{Reference: image, Package: p.name, Bundle: name})
		}
	}
	if err := p.writeOthers(&out, choices, bundles); err != nil {
		return err
	}
	f.Files[p.name+"/catalog.json"] = out.Bytes()
	return nil
}

// choose decides which bundles of which channels are kept.
func (p *operator) choose(want imageset.Package, full bool, path string) ([]choice, error) {
	wanted := want.Channels
	if len(wanted) == 0 && (!full || want.MinVersion != "" || want.MaxVersion != "") {
		wanted = []imageset.PackageChannel{{Name: p.defaultChannel, MinVersion: want.MinVersion, MaxVersion: want.MaxVersion}}
	}
	var choices []choice
	if len(wanted) == 0 {
		for _, c := range p.channels {
			wanted = append(wanted, imageset.PackageChannel{Name: c.name})
		}
	}
	for _, w := range wanted {
		at := slices.IndexFunc(p.channels, func(c channel) bool { return c.name == w.Name })
		if at < 0 {
			return nil, fmt.Errorf("%w: %s: package %s has no channel %q, only %s", ErrInvalid, path, p.name, w.Name,
				names(p.channels, func(c channel) string { return c.name }))
		}
		c := choice{channel: p.channels[at], kept: map[string]bool{}}
		if err := c.keep(p, w, full); err != nil {
			return nil, fmt.Errorf("%w: %s: package %s: %w", ErrInvalid, path, p.name, err)
		}
		choices = append(choices, c)
	}
	return choices, nil
}

// keep decides for one channel.
func (c *choice) keep(p *operator, w imageset.PackageChannel, full bool) error {
	if w.MinVersion == "" && w.MaxVersion == "" && !full {
		head := p.head(c.channel)
		if head == "" {
			return fmt.Errorf("channel %s has no bundle", w.Name)
		}
		c.kept[head] = true
		return nil
	}
	for _, e := range c.channel.entries {
		b, ok := p.bundles[e.Name]
		if !ok {
			continue
		}
		within, err := inRange(b.version, w.MinVersion, w.MaxVersion)
		if err != nil {
			return fmt.Errorf("bundle %s: %w", e.Name, err)
		}
		if within {
			c.kept[e.Name] = true
		}
	}
	if len(c.kept) == 0 {
		return fmt.Errorf("channel %s has no version from %q to %q", w.Name, w.MinVersion, w.MaxVersion)
	}
	return nil
}

func inRange(version, low, high string) (bool, error) {
	if low == "" && high == "" {
		return true, nil
	}
	v, err := semver.NewVersion(version)
	if err != nil {
		return false, fmt.Errorf("version %q: %w", version, err)
	}
	for bound, wrong := range map[string]func(*semver.Version) bool{low: v.LessThan, high: v.GreaterThan} {
		if bound == "" {
			continue
		}
		b, err := semver.NewVersion(bound)
		if err != nil {
			return false, fmt.Errorf("version %q: %w", bound, err)
		}
		if wrong(b) {
			return false, nil
		}
	}
	return true, nil
}

// heads are entries that no other entry replaces or skips; of several the newest comes first.
func (p *operator) heads(entries []entry) []string {
	replaced := map[string]bool{}
	for _, e := range entries {
		replaced[e.Replaces] = true
		for _, skipped := range e.Skips {
			replaced[skipped] = true
		}
	}
	var heads []string
	for _, e := range entries {
		if _, ok := p.bundles[e.Name]; ok && !replaced[e.Name] {
			heads = append(heads, e.Name)
		}
	}
	slices.SortFunc(heads, func(a, b string) int { return p.compare(b, a) })
	return heads
}

func (p *operator) head(c channel) string {
	if heads := p.heads(c.entries); len(heads) > 0 {
		return heads[0]
	}
	return ""
}

// compare bundles by version; what has none is the oldest.
func (p *operator) compare(a, b string) int {
	left, leftErr := semver.NewVersion(p.bundles[a].version)
	right, rightErr := semver.NewVersion(p.bundles[b].version)
	switch {
	case leftErr != nil && rightErr != nil:
		return 0
	case leftErr != nil:
		return -1
	case rightErr != nil:
		return 1
	}
	return left.Compare(right)
}

// entries of a channel that are kept. A channel must have one head: where the choice leaves several, the newest skips the others.
func (c choice) entries(p *operator) []entry {
	var kept []entry
	for _, e := range c.channel.entries {
		if c.kept[e.Name] {
			kept = append(kept, e)
		}
	}
	if heads := p.heads(kept); len(heads) > 1 {
		for i := range kept {
			if kept[i].Name == heads[0] {
				kept[i].Skips = append(slices.Clone(kept[i].Skips), heads[1:]...)
			}
		}
	}
	return kept
}

// writeOthers keeps what else belongs to the package; deprecations only of what is kept.
func (p *operator) writeOthers(out *bytes.Buffer, choices []choice, bundles map[string]bool) error {
	for _, o := range p.others {
		raw := o.Raw
		if o.Schema == schemaDeprecations {
			var err error
			if raw, err = deprecations(raw, choices, bundles); err != nil {
				return fmt.Errorf("write deprecations of %s: %w", p.name, err)
			}
			if raw == nil {
				continue
			}
		}
		if err := write(out, raw); err != nil {
			return fmt.Errorf("write %s of %s: %w", o.Schema, p.name, err)
		}
	}
	return nil
}

func deprecations(raw json.RawMessage, choices []choice, bundles map[string]bool) (json.RawMessage, error) {
	var body struct {
		Entries []struct {
			Reference struct {
				Schema string `json:"schema"`
				Name   string `json:"name,omitempty"`
			} `json:"reference"`
			Message string `json:"message"`
		} `json:"entries"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return nil, err
	}
	kept := body.Entries[:0]
	for _, e := range body.Entries {
		switch e.Reference.Schema {
		case schemaBundle:
			if !bundles[e.Reference.Name] {
				continue
			}
		case schemaChannel:
			if !slices.ContainsFunc(choices, func(c choice) bool { return c.channel.name == e.Reference.Name }) {
				continue
			}
		}
		kept = append(kept, e)
	}
	if len(kept) == 0 {
		return nil, nil
	}
	return set(raw, map[string]any{"entries": kept})
}

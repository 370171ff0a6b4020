// Package mirrorset decides where images are looked for: ImageDigestMirrorSets, ImageTagMirrorSets, ImageContentSourcePolicies
// and a cluster's imageContentSources merged into one registries.conf, as OpenShift's runtime-utils does it.
package mirrorset

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-io/slipway/mirror/remote"
)

// ErrInvalid says that an entry of a mirror set can't be honoured.
var ErrInvalid = errors.New("invalid mirror set")

// most entries, mirrors of one, and bytes of a name that are taken.
const (
	maxEntries = 10_000
	maxMirrors = 100
	maxName    = 512
)

// Entry is one source of a mirror set and its mirrors, the preferred one first.
type Entry struct {
	// Path is where it is written, for messages: "ImageDigestMirrorSet idms-0: spec.imageDigestMirrors[2]".
	Path    string
	Source  string
	Mirrors []string
	// ByTag entries are for images that are named by tag, the others for those named by digest.
	ByTag bool
	// Never forbids to ask the source itself (NeverContactSource).
	Never bool
}

var (
	wildcard = regexp.MustCompile(`^\*(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)+$`)
	hostName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?$`)
	literal  = regexp.MustCompile(`^\[([0-9a-fA-F:.]+)\](:[0-9]{1,5})?$`)
	path     = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
)

// normal is the location in its one way of writing: IPv6 literals compressed, hosts in lower case.
func normal(location string) (string, error) {
	host, rest, deeper := strings.Cut(location, "/")
	if len(location) > maxName || deeper && !path.MatchString(rest) {
		return "", fmt.Errorf("%w: %.200q is not host[:port][/namespace…][/repository], without tag and digest", ErrInvalid, location)
	}
	host, err := Host(host)
	if err != nil {
		return "", err
	}
	if deeper {
		return host + "/" + rest, nil
	}
	return host, nil
}

// Host is a registry's host[:port] in its one way of writing.
func Host(host string) (string, error) {
	if found := literal.FindStringSubmatch(host); found != nil {
		if address, err := netip.ParseAddr(found[1]); err == nil && address.Is6() {
			return "[" + address.String() + "]" + found[2], nil
		}
	} else if hostName.MatchString(host) {
		return strings.ToLower(host), nil
	}
	return "", fmt.Errorf("%w: %.200q is no host[:port]; IPv6 addresses stand in brackets", ErrInvalid, host)
}

// Check tells what about the entry can't be honoured, with its path.
func (e Entry) Check() error {
	_, err := e.normal()
	return err
}

func (e Entry) normal() (Entry, error) {
	out := e
	var faults []error
	if wildcard.MatchString(e.Source) {
		out.Source = strings.ToLower(e.Source)
	} else if source, err := normal(e.Source); err != nil {
		faults = append(faults, fmt.Errorf("%s.source: %w", e.Path, err))
	} else {
		out.Source = source
	}
	out.Mirrors = nil
	for i, mirror := range e.Mirrors {
		location, err := normal(mirror)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s.mirrors[%d]: %w", e.Path, i, err))
			continue
		}
		out.Mirrors = append(out.Mirrors, location)
	}
	if len(e.Mirrors) > maxMirrors {
		faults = append(faults, fmt.Errorf("%s.mirrors: %w: %d of them, at most %d are taken", e.Path, ErrInvalid, len(e.Mirrors), maxMirrors))
	}
	return out, errors.Join(faults...)
}

// Rules are merged mirror sets. The zero value has none: every image is where its name says.
type Rules struct {
	conf    []byte
	mirrors *remote.Mirrors
}

// Merge makes rules of all entries that can be honoured; the error names the others.
func Merge(entries []Entry) (Rules, error) {
	var faults []error
	if len(entries) > maxEntries {
		faults = append(faults, fmt.Errorf("%w: %d entries, the first %d are taken", ErrInvalid, len(entries), maxEntries))
		entries = entries[:maxEntries]
	}
	bySource := map[string]*merged{}
	for _, entry := range entries {
		e, err := entry.normal()
		if err != nil {
			faults = append(faults, err)
			continue
		}
		// A list of nothing but the source itself says nothing, and its policy does not count either.
		if !slices.ContainsFunc(e.Mirrors, func(mirror string) bool { return mirror != e.Source }) {
			continue
		}
		m := bySource[e.Source]
		if m == nil {
			m = &merged{source: e.Source}
			bySource[e.Source] = m
		}
		m.add(e)
	}
	if len(bySource) == 0 {
		return Rules{}, errors.Join(faults...)
	}
	conf := render(bySource)
	// What is rendered is what decides: file and decisions can't differ.
	mirrors, err := remote.ReadMirrors(conf)
	if err != nil {
		return Rules{}, errors.Join(append(faults, err)...)
	}
	return Rules{conf: conf, mirrors: mirrors}, errors.Join(faults...)
}

// merged is all that is said of one source.
type merged struct {
	source        string
	digests, tags [][]string
	blocked       bool
}

func (m *merged) add(e Entry) {
	if e.ByTag {
		m.tags = append(m.tags, e.Mirrors)
	} else {
		m.digests = append(m.digests, e.Mirrors)
	}
	m.blocked = m.blocked || e.Never
}

// order merges lists so that each one's order is kept: (a, b) and (b, c) make a, b, c. Where they contradict one another, the first one seen goes first.
func order(lists [][]string) []string {
	var all []string
	before := map[string]map[string]bool{}
	for _, list := range lists {
		for i, name := range list {
			if before[name] == nil {
				before[name] = map[string]bool{}
				all = append(all, name)
			}
			if i > 0 && list[i-1] != name {
				before[name][list[i-1]] = true
			}
		}
	}
	var ordered []string
	for len(all) > 0 {
		free := slices.IndexFunc(all, func(name string) bool {
			return !slices.ContainsFunc(all, func(other string) bool { return before[name][other] })
		})
		free = max(free, 0)
		ordered = append(ordered, all[free])
		all = slices.Delete(all, free, free+1)
	}
	return ordered
}

// render writes containers-registries.conf(5), version 2.
func render(bySource map[string]*merged) []byte {
	var all []*merged
	for _, m := range bySource {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *merged) int { return cmp.Compare(a.source, b.source) })
	var conf bytes.Buffer
	conf.WriteString("# Mirror sets of the site, in the format of containers-registries.conf(5), version 2.\n")
	for _, m := range all {
		if strings.HasPrefix(m.source, "*") {
			fmt.Fprintf(&conf, "\n[[registry]]\nprefix = %q\n", m.source)
		} else {
			fmt.Fprintf(&conf, "\n[[registry]]\nprefix = \"\"\nlocation = %q\n", m.source)
		}
		if m.blocked {
			conf.WriteString("blocked = true\n")
		}
		for _, mirror := range order(m.digests) {
			fmt.Fprintf(&conf, "\n[[registry.mirror]]\nlocation = %q\npull-from-mirror = \"digest-only\"\n", mirror)
		}
		for _, mirror := range order(m.tags) {
			fmt.Fprintf(&conf, "\n[[registry.mirror]]\nlocation = %q\npull-from-mirror = \"tag-only\"\n", mirror)
		}
	}
	return conf.Bytes()
}

// RegistriesConf is the rules as podman, skopeo and CRI-O read them; empty where there are none.
func (r Rules) RegistriesConf() []byte { return r.conf }

// Places of an image.
type Places struct {
	// Mirrors in the order in which they are asked.
	Mirrors []remote.Repository
	// Source says that the image's own repository may be asked after them.
	Source bool
}

// Places where a repository's images are looked for. Of all sources the one with the longest matching prefix counts, alone.
// A client that resolved a tag goes on by digest, so mirrors for tags serve digests too, after those for digests: content is what its digest says.
func (r Rules) Places(repo remote.Repository, byDigest bool) Places {
	host, err := Host(repo.Host)
	if err != nil || r.mirrors == nil {
		return Places{Source: true}
	}
	repo.Host = host
	places := r.split(repo, byDigest)
	if byDigest {
		for _, mirror := range r.split(repo, false).Mirrors {
			if !slices.Contains(places.Mirrors, mirror) {
				places.Mirrors = append(places.Mirrors, mirror)
			}
		}
	}
	return places
}

func (r Rules) split(repo remote.Repository, byDigest bool) Places {
	var places Places
	for _, place := range r.mirrors.Places(repo, byDigest) {
		if place == repo {
			places.Source = true
			continue
		}
		places.Mirrors = append(places.Mirrors, place)
	}
	return places
}

package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// ErrBlocked says that registries.conf forbids to ask a registry.
var ErrBlocked = errors.New("registries.conf blocks it")

// Mirrors say where to look for images before their own registry, as containers-registries.conf(5) does in its version 2.
// A nil Mirrors knows none.
type Mirrors struct {
	entries []mirrorEntry
}

type mirrorEntry struct {
	Prefix             string        `toml:"prefix"`
	Location           string        `toml:"location"`
	Blocked            bool          `toml:"blocked"`
	Insecure           bool          `toml:"insecure"`
	MirrorByDigestOnly bool          `toml:"mirror-by-digest-only"`
	Mirrors            []mirrorPlace `toml:"mirror"`
}

type mirrorPlace struct {
	Location string `toml:"location"`
	Insecure bool   `toml:"insecure"`
	Pull     string `toml:"pull-from-mirror"`
}

// ReadMirrors reads a registries.conf. What it says of short names and search has no meaning here: images are named in full.
func ReadMirrors(raw []byte) (*Mirrors, error) {
	var file struct {
		Registries []mirrorEntry `toml:"registry"`
	}
	if err := toml.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("read registries.conf: %w", err)
	}
	m := &Mirrors{}
	for i, e := range file.Registries {
		if e.Prefix == "" {
			e.Prefix = e.Location
		}
		if e.Location == "" && !strings.HasPrefix(e.Prefix, "*.") {
			e.Location = e.Prefix
		}
		if e.Prefix == "" {
			return nil, fmt.Errorf("read registries.conf: registry[%d] has neither prefix nor location", i)
		}
		if e.Insecure {
			return nil, fmt.Errorf("read registries.conf: registry[%d].insecure can't be honoured for one registry: use --ca, or --src-tls-verify=false", i)
		}
		for j, p := range e.Mirrors {
			if p.Insecure || p.Location == "" || p.Pull != "" && p.Pull != "all" && p.Pull != "digest-only" && p.Pull != "tag-only" {
				return nil, fmt.Errorf("read registries.conf: registry[%d].mirror[%d] can't be honoured: want a location without insecure, and pull-from-mirror all, digest-only or tag-only", i, j)
			}
		}
		m.entries = append(m.entries, e)
	}
	return m, nil
}

// Places of a repository in the order in which they are asked. Of all entries the one with the longest matching prefix counts, alone.
func (m *Mirrors) Places(repo Repository, byDigest bool) []Repository {
	name := repo.String()
	var best *mirrorEntry
	length := -1
	for i := range m.entries {
		if n := m.entries[i].match(name); n > length {
			best, length = &m.entries[i], n
		}
	}
	if best == nil {
		return []Repository{repo}
	}
	rest := name[length:]
	var found []Repository
	for _, p := range best.Mirrors {
		byTag := p.Pull == "tag-only"
		onlyDigest := p.Pull == "digest-only" || p.Pull == "" && best.MirrorByDigestOnly
		if byDigest && byTag || !byDigest && onlyDigest {
			continue
		}
		found = append(found, split(p.Location+rest))
	}
	if !best.Blocked {
		own := repo
		if best.Location != "" {
			own = split(best.Location + rest)
		}
		found = append(found, own)
	}
	return found
}

// match returns how much of a name an entry's prefix covers, or -1. A prefix ends where a part of the name ends.
func (e *mirrorEntry) match(name string) int {
	if domain, wildcard := strings.CutPrefix(e.Prefix, "*"); wildcard {
		host, _, _ := strings.Cut(name, "/")
		if strings.HasSuffix(host, domain) {
			return len(host)
		}
		return -1
	}
	if name == e.Prefix || strings.HasPrefix(name, e.Prefix+"/") {
		return len(e.Prefix)
	}
	return -1
}

func split(name string) Repository {
	host, path, _ := strings.Cut(name, "/")
	return Repository{Host: host, Path: path}
}

// look tries the places of a repository until one has what is asked for. The error is the one of the last place: the source itself, unless it is blocked.
func (c *Client) look(ctx context.Context, repo Repository, byDigest bool, try func(Repository) error) error {
	if c.mirrors == nil {
		return try(repo)
	}
	err := fmt.Errorf("%w: %s", ErrBlocked, repo)
	for _, place := range c.mirrors.Places(repo, byDigest) {
		if err = try(place); err == nil || ctx.Err() != nil {
			return err
		}
		c.log.Debug("not at this place", "repository", place.String(), "err", err)
	}
	return err
}

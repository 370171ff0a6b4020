package registry

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"regexp"
	"strings"
)

var (
	// ErrNotFound says that the registry has no such content.
	ErrNotFound = errors.New("not in the registry")
	// ErrInvalid says that a name, a digest or a manifest is malformed.
	ErrInvalid = errors.New("invalid")
	// ErrDigest says that content is not what its digest promises.
	ErrDigest = errors.New("content does not match its digest")
	// ErrBusy says that somebody else is writing the same thing right now.
	ErrBusy = errors.New("busy")
	// ErrFull says that the disk has no room for more.
	ErrFull = errors.New("the registry's disk is full")
)

const (
	maxRepository = 255 // distribution-spec: clients limit host and name together
	sha256Name    = "sha256"
	sha512Name    = "sha512"
)

var (
	repositoryName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagName        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// digest is a checked content address; the zero value is none.
type digest struct{ algorithm, hex string }

func (d digest) String() string { return d.algorithm + ":" + d.hex }

func newHash(algorithm string) hash.Hash {
	if algorithm == sha512Name {
		return sha512.New()
	}
	return sha256.New()
}

func digestOf(algorithm string, content []byte) digest {
	h := newHash(algorithm)
	h.Write(content)
	return digest{algorithm, hex.EncodeToString(h.Sum(nil))}
}

// parseDigest accepts sha256 and sha512 with as many lower-case hexadecimal digits as they have.
func parseDigest(text string) (digest, error) {
	algorithm, encoded, _ := strings.Cut(text, ":")
	want := map[string]int{sha256Name: sha256.Size, sha512Name: sha512.Size}[algorithm] * 2
	if want == 0 || len(encoded) != want || strings.Trim(encoded, "0123456789abcdef") != "" {
		return digest{}, fmt.Errorf("digest %.150q: want sha256: or sha512: and its hexadecimal digits: %w", text, ErrInvalid)
	}
	return digest{algorithm, encoded}, nil
}

func checkRepository(name string) error {
	if len(name) > maxRepository || !repositoryName.MatchString(name) {
		return fmt.Errorf("repository %.300q: want lower-case words with / between them, at most %d characters: %w", name, maxRepository, ErrInvalid)
	}
	return nil
}

func checkTag(tag string) error {
	if !tagName.MatchString(tag) {
		return fmt.Errorf("tag %.150q: want letters, digits, dots, dashes and underscores, at most 128: %w", tag, ErrInvalid)
	}
	return nil
}

// kind is what an address of the API names.
type kind int

const (
	onNothing kind = iota
	onPing
	onToken
	onCatalog
	onManifests
	onBlobs
	onUploads // a new one
	onUpload  // one that runs
	onTags
	onReferrers
)

// address is a parsed path of the API.
type address struct {
	kind       kind
	repository string
	reference  string // tag, digest or upload, not checked
}

// parsePath reads a request's path. A repository may have components like "blobs", so the end of the path decides.
func parsePath(path string) address {
	rest, found := strings.CutPrefix(path, "/v2")
	switch {
	case !found || len(path) > maxPath:
		return address{}
	case rest == "" || rest == "/":
		return address{kind: onPing}
	case rest == "/_token":
		return address{kind: onToken}
	case rest == "/_catalog":
		return address{kind: onCatalog}
	}
	parts := strings.Split(strings.TrimPrefix(rest, "/"), "/")
	if len(parts) < 3 || rest[0] != '/' {
		return address{}
	}
	n := len(parts)
	last, before := parts[n-1], parts[n-2]
	in := func(k kind, components int, reference string) address {
		return address{kind: k, repository: strings.Join(parts[:n-components], "/"), reference: reference}
	}
	switch {
	case n > 3 && parts[n-3] == "blobs" && before == "uploads" && last != "":
		return in(onUpload, 3, last)
	case n > 3 && parts[n-3] == "blobs" && before == "uploads":
		return in(onUploads, 3, "")
	case before == "blobs" && last == "uploads":
		return in(onUploads, 2, "")
	case before == "blobs":
		return in(onBlobs, 2, last)
	case before == "manifests":
		return in(onManifests, 2, last)
	case before == "tags" && last == "list":
		return in(onTags, 2, "")
	case before == "referrers":
		return in(onReferrers, 2, last)
	}
	return address{}
}

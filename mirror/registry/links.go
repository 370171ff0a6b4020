package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Manifest is a manifest as it was pushed.
type Manifest struct {
	Digest    string
	MediaType string
	Raw       []byte
}

// Manifest reads a manifest of a repository by tag or digest. ErrNotFound when there is none, ErrDigest when the disk damaged it.
func (r *Registry) Manifest(repository, reference string) (Manifest, error) {
	d, m, found := r.index.resolve(repository, reference)
	if !found {
		return Manifest{}, fmt.Errorf("manifest %s of %s: %w", reference, repository, ErrNotFound)
	}
	raw, err := r.disk.root.ReadFile(blobPath(d))
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest %s of %s: %w", reference, repository, err)
	}
	if got := digestOf(d.algorithm, raw); got != d {
		return Manifest{}, fmt.Errorf("manifest %s of %s is %s: %w", d, repository, got, ErrDigest)
	}
	return Manifest{Digest: d.String(), MediaType: m.mediaType, Raw: raw}, nil
}

// PutManifest stores a manifest under its sha256 digest, and tags it. What it names need not be there. Durable on return.
func (r *Registry) PutManifest(repository, mediaType string, raw []byte, tags ...string) (string, error) {
	d := digestOf(sha256Name, raw)
	return d.String(), r.PutManifestDigest(repository, d.String(), mediaType, raw, tags...)
}

// PutManifestDigest is PutManifest with the digest that the content must have, sha256 or sha512.
func (r *Registry) PutManifestDigest(repository, digest, mediaType string, raw []byte, tags ...string) error {
	_, err := r.put(repository, digest, mediaType, raw, tags, func(string) bool { return true })
	return err
}

// put is for who may read some repositories, and not others.
func (r *Registry) put(repository, digest, mediaType string, raw []byte, tags []string, reads func(string) bool) (link, error) {
	d, err := checkBoth(repository, digest)
	if err != nil {
		return link{}, err
	}
	for _, tag := range tags {
		if err := checkTag(tag); err != nil {
			return link{}, err
		}
	}
	if got := digestOf(d.algorithm, raw); got != d {
		return link{}, fmt.Errorf("manifest is %s, not %s: %w", got, d, ErrDigest)
	}
	l, _, err := parseManifest(mediaType, raw)
	if err != nil {
		return link{}, err
	}
	if err := r.disk.room(2 * int64(len(raw))); err != nil {
		return link{}, fmt.Errorf("store manifest %s: %w", d, err)
	}
	l.Withheld = r.index.closed(repository, l.Blobs, reads)
	repo := r.index.open(repository)
	repo.writing.Lock()
	defer repo.writing.Unlock()
	if err := r.putLink(repo, d, l, raw); err != nil {
		return link{}, fmt.Errorf("store manifest %s: %w", d, err)
	}
	if err := r.putTags(repo, d, tags); err != nil {
		return link{}, fmt.Errorf("tag manifest %s: %w", d, err)
	}
	return l, nil
}

// putLink makes content and link durable, the link last. With the repository's writing.
func (r *Registry) putLink(repo *repository, d digest, l link, raw []byte) error {
	r.index.acquire(d)
	defer r.index.release(d)
	r.index.touch(repo.name, r.now())
	if _, m, found := r.index.resolve(repo.name, d.String()); found && m.mediaType == l.MediaType && len(m.withheld) <= len(l.Withheld) && r.same(d, raw) {
		return nil
	}
	encoded, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := r.disk.placeAll([]string{blobPath(d), manifestPath(repo.name, d)}, raw, encoded); err != nil {
		return err
	}
	r.index.linked(repo, d, l)
	return nil
}

// same makes sure that content is what it should be on disk, too.
func (r *Registry) same(d digest, raw []byte) bool {
	there, err := r.disk.root.ReadFile(blobPath(d))
	return err == nil && bytes.Equal(there, raw)
}

// putTags moves tags. With the repository's writing.
func (r *Registry) putTags(repo *repository, d digest, tags []string) error {
	var names []string
	for _, tag := range tags {
		if now, _, found := r.index.resolve(repo.name, tag); !found || now != d {
			names = append(names, tagPath(repo.name, tag))
		}
	}
	contents := make([][]byte, len(names))
	for i := range contents {
		contents[i] = []byte(d.String())
	}
	if err := r.disk.placeAll(names, contents...); err != nil {
		return err
	}
	r.index.tagged(repo, d, tags)
	return nil
}

// DeleteManifest takes a tag away, or with a digest a manifest and the tags that name it. ErrNotFound when there is none.
func (r *Registry) DeleteManifest(repository, reference string) error {
	if err := checkRepository(repository); err != nil {
		return err
	}
	repo := r.index.open(repository)
	repo.writing.Lock()
	defer repo.writing.Unlock()
	d, _, found := r.index.resolve(repository, reference)
	if !found {
		return fmt.Errorf("delete %s of %s: %w", reference, repository, ErrNotFound)
	}
	tags, whole := []string{reference}, false
	if _, err := parseDigest(reference); err == nil {
		tags, whole = r.index.tagsOf(repository, d), true
	}
	if err := r.unlinkFiles(repo, d, tags, whole); err != nil {
		return fmt.Errorf("delete %s of %s: %w", reference, repository, err)
	}
	r.index.mu.Lock()
	defer r.index.mu.Unlock()
	for _, tag := range tags {
		delete(repo.tags, tag)
	}
	if whole {
		r.index.unlink(repo, d)
	}
	return nil
}

// unlinkFiles removes tags first: none of them ever names a manifest that is gone.
func (r *Registry) unlinkFiles(repo *repository, d digest, tags []string, whole bool) error {
	var names []string
	for _, tag := range tags {
		names = append(names, tagPath(repo.name, tag))
	}
	if whole {
		names = append(names, manifestPath(repo.name, d))
	}
	for _, name := range names {
		if err := r.disk.remove(name); err != nil {
			return err
		}
	}
	return r.disk.keep(names...)
}

// Tags lists a repository's tags, sorted. ErrNotFound when it has no content.
func (r *Registry) Tags(repository string) ([]string, error) {
	if !r.index.known(repository) {
		return nil, fmt.Errorf("repository %s: %w", repository, ErrNotFound)
	}
	return r.index.tagsOf(repository, digest{}), nil
}

// Repositories lists those that have content, sorted.
func (r *Registry) Repositories() []string { return r.index.names() }

package registry

import (
	"errors"
	"slices"
)

// maxReferrers bounds one page of a referrers list, in bytes: annotations may be as large as a manifest.
const maxReferrers = 2 << 20

// Referrers lists the manifests of a repository whose subject is the digest, sorted by digest, also those that clients noted
// in an index under the digest's tag because another registry had no such list.
func (r *Registry) Referrers(repository, digest string) ([]Descriptor, error) {
	subject, err := checkBoth(repository, digest)
	if err != nil {
		return nil, err
	}
	var list []Descriptor
	for after := ""; ; {
		page, next, err := r.referrers(repository, subject, after, "")
		if err != nil {
			return nil, err
		}
		list = append(list, page...)
		if next == "" {
			return list, nil
		}
		after = next
	}
}

// referrers returns the page after a digest, and the digest to ask for more with. An artifact type filters.
func (r *Registry) referrers(repository string, subject digest, after, artifactType string) (page []Descriptor, next string, err error) {
	page = []Descriptor{}
	size := 0
	all := r.index.referrersOf(repository, subject)
	for _, d := range all {
		if d.String() <= after {
			continue
		}
		if size > maxReferrers {
			return page, next, nil
		}
		one, err := r.describe(repository, d)
		if errors.Is(err, ErrNotFound) { // deleted since
			continue
		}
		if err != nil {
			return nil, "", err
		}
		next = one.Digest
		if artifactType == "" || one.ArtifactType == artifactType {
			page = append(page, one)
			size += one.length()
		}
	}
	for _, one := range r.noted(repository, subject) {
		known := slices.ContainsFunc(all, func(d digest) bool { return d.String() == one.Digest })
		if !known && (artifactType == "" || one.ArtifactType == artifactType) {
			page = append(page, one)
		}
	}
	return page, "", nil
}

func (d Descriptor) length() int {
	n := len(d.MediaType) + len(d.Digest) + len(d.ArtifactType) + 100
	for key, value := range d.Annotations {
		n += len(key) + len(value)
	}
	return n
}

// noted reads the index that clients keep under the subject's tag, distribution-spec "Referrers Tag Schema".
func (r *Registry) noted(repository string, subject digest) []Descriptor {
	m, err := r.Manifest(repository, subject.algorithm+"-"+subject.hex)
	if err != nil || m.MediaType != ociIndex {
		return nil // there is none
	}
	_, doc, err := parseManifest(m.MediaType, m.Raw)
	if err != nil {
		return nil
	}
	return doc.Manifests
}

func (r *Registry) describe(repository string, d digest) (Descriptor, error) {
	m, err := r.Manifest(repository, d.String())
	if err != nil {
		return Descriptor{}, err
	}
	l, doc, err := parseManifest(m.MediaType, m.Raw)
	if err != nil {
		return Descriptor{}, err
	}
	return descriptor(d, l, doc), nil
}

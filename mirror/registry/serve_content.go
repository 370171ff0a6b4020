package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

const contentDigest = "Docker-Content-Digest"

// blob answers for content.
func (r *Registry) blob(w http.ResponseWriter, req request) error {
	d, err := parseDigest(req.reference)
	if err != nil {
		return &problem{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	}
	size, found := r.index.visible(req.repository, d, req.caller.pulls)
	if !found {
		return unknownBlob
	}
	switch req.Method {
	case http.MethodHead:
		if req.caller.pushes(req.repository) { // a push that does not send what is there relies on its staying there
			if there := r.index.lease(req.repository, d, r.now()); !there {
				return unknownBlob
			}
		}
	case http.MethodGet:
	case http.MethodDelete:
		if err := r.hide(req.repository, d); err != nil {
			return err
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	default:
		return unsupported
	}
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set(contentDigest, d.String())
	header.Set("ETag", strconv.Quote(d.String()))
	header.Set("Cache-Control", "max-age=31536000, immutable")
	header.Set("Accept-Ranges", "bytes")
	if req.Method == http.MethodHead && req.Header.Get("Range") == "" {
		header.Set("Content-Length", strconv.FormatInt(size, 10))
		return nil
	}
	f, _, err := r.OpenBlob(d.String())
	if errors.Is(err, ErrNotFound) {
		return unknownBlob
	}
	if err != nil {
		return err
	}
	defer f.Close()
	http.ServeContent(w, req.Request, "", time.Time{}, f)
	return nil
}

// hide takes a blob out of a repository. What other repositories need stays theirs.
func (r *Registry) hide(repository string, d digest) error {
	r.index.acquire(d)
	defer r.index.release(d)
	name := leasePath(repository, d)
	if _, err := r.disk.root.Lstat(name); err == nil {
		if err := errors.Join(r.disk.remove(name), r.disk.keep(name)); err != nil {
			return fmt.Errorf("delete blob %s of %s: %w", d, repository, err)
		}
	}
	r.index.hide(repository, d)
	return nil
}

// manifest answers for manifests and tags.
func (r *Registry) manifest(w http.ResponseWriter, req request) error {
	_, notDigest := parseDigest(req.reference)
	if notDigest != nil && (strings.Contains(req.reference, ":") || checkTag(req.reference) != nil) {
		return &problem{http.StatusBadRequest, "MANIFEST_INVALID", "reference is neither a tag nor a digest: " + notDigest.Error()}
	}
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		m, err := r.Manifest(req.repository, req.reference)
		if err != nil {
			return err
		}
		header := w.Header()
		header.Set("Content-Type", m.MediaType)
		header.Set(contentDigest, m.Digest)
		header.Set("ETag", strconv.Quote(m.Digest))
		http.ServeContent(w, req.Request, "", time.Time{}, bytes.NewReader(m.Raw))
		return nil
	case http.MethodPut:
		return r.putManifest(w, req, notDigest == nil)
	case http.MethodDelete:
		if err := r.DeleteManifest(req.repository, req.reference); err != nil {
			return err
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	return unsupported
}

func (r *Registry) putManifest(w http.ResponseWriter, req request, byDigest bool) error {
	raw, err := io.ReadAll(io.LimitReader(req.Body, maxManifest+1))
	if err != nil {
		return &problem{http.StatusBadRequest, "MANIFEST_INVALID", "manifest did not arrive whole: " + err.Error()}
	}
	if len(raw) > maxManifest {
		return &problem{http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("manifest is larger than %d bytes", maxManifest)}
	}
	digest, tags := req.reference, req.URL.Query()["tag"]
	if !byDigest {
		digest, tags = digestOf(sha256Name, raw).String(), []string{req.reference}
	}
	if len(tags) > maxTags {
		return &problem{http.StatusBadRequest, "MANIFEST_INVALID", fmt.Sprintf("%d tags at once, at most %d are taken", len(tags), maxTags)}
	}
	l, err := r.put(req.repository, digest, req.Header.Get("Content-Type"), raw, tags, req.caller.pulls)
	if err != nil {
		return err
	}
	r.log.Info("manifest pushed", "user", req.caller.Name, "repository", req.repository, "digest", digest, "tags", tags, "ip", req.RemoteAddr)
	header := w.Header()
	header.Set("Location", contentPath(req.repository, "manifests", digest))
	header.Set(contentDigest, digest)
	if l.Subject != "" {
		header.Set("OCI-Subject", l.Subject)
	}
	if byDigest {
		for _, tag := range tags {
			header.Add("OCI-Tag", tag)
		}
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

const (
	maxTags  = 100  // that one manifest gets with one request
	pageSize = 1000 // names in an answer when the client does not say
)

// page cuts a sorted list as the query's n and last ask, and says in a Link header how to go on.
func page(w http.ResponseWriter, req *http.Request, list []string) ([]string, error) {
	query := req.URL.Query()
	if last := query.Get("last"); last != "" {
		at, found := slices.BinarySearch(list, last)
		if found {
			at++
		}
		list = list[at:]
	}
	n := pageSize
	if text := query.Get("n"); text != "" {
		asked, err := strconv.Atoi(text)
		if err != nil || asked < 0 {
			return nil, &problem{http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", fmt.Sprintf("n=%.20q, want a number", text)}
		}
		n = min(asked, 10*pageSize)
	}
	if n == 0 {
		return []string{}, nil
	}
	if len(list) <= n {
		return list, nil
	}
	next(w, req, url.Values{"n": {strconv.Itoa(n)}, "last": {list[n-1]}})
	return list[:n], nil
}

func next(w http.ResponseWriter, req *http.Request, query url.Values) {
	w.Header().Set("Link", "<"+path.Clean(req.URL.Path)+"?"+query.Encode()+`>; rel="next"`)
}

func (r *Registry) tagList(w http.ResponseWriter, req request) error {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return unsupported
	}
	all, err := r.Tags(req.repository)
	if err != nil {
		return unknownRepository
	}
	some, err := page(w, req.Request, all)
	if err != nil {
		return err
	}
	return writeJSON(w, map[string]any{"name": req.repository, "tags": some})
}

// catalog lists the repositories that the caller may read. It is older than the specification, and clients still ask for it.
func (r *Registry) catalog(w http.ResponseWriter, req request) error {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return unsupported
	}
	if req.caller.Name == "" && len(req.caller.public) == 0 {
		return r.challenge(w, req.Request, req.address, "log in for this")
	}
	all := slices.DeleteFunc(r.Repositories(), func(name string) bool { return !req.caller.pulls(name) })
	some, err := page(w, req.Request, all)
	if err != nil {
		return err
	}
	if some == nil {
		some = []string{}
	}
	return writeJSON(w, map[string][]string{"repositories": some})
}

func (r *Registry) referrersList(w http.ResponseWriter, req request) error {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return unsupported
	}
	subject, err := parseDigest(req.reference)
	if err != nil {
		return &problem{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	}
	artifactType := req.URL.Query().Get("artifactType")
	list, more, err := r.referrers(req.repository, subject, req.URL.Query().Get("last"), artifactType)
	if err != nil {
		return err
	}
	query := url.Values{"last": {more}}
	if artifactType != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
		query.Set("artifactType", artifactType)
	}
	if more != "" {
		next(w, req.Request, query)
	}
	w.Header().Set("Content-Type", ociIndex)
	return writeJSON(w, map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": list})
}

package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// turnWait is how long a part waits for the one before it: the connection of that one may have broken without its noticing.
const turnWait = 5 * time.Second

// upload answers for blobs on their way in.
func (r *Registry) upload(w http.ResponseWriter, req request) error {
	if req.Method == http.MethodPost || req.Method == http.MethodPatch || req.Method == http.MethodPut {
		select {
		case r.pushes <- struct{}{}:
			defer func() { <-r.pushes }()
		default:
			return fmt.Errorf("the registry takes as many pushes as it can: %w", ErrBusy)
		}
	}
	if req.kind == onUploads {
		if req.Method != http.MethodPost {
			return unsupported
		}
		return r.post(w, req)
	}
	u, err := r.find(req.repository, req.reference)
	if err != nil {
		return uploadProblem(err)
	}
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		progress(w, req, u)
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodPatch, http.MethodPut, http.MethodDelete:
	default:
		return unsupported
	}
	ctx, cancel := context.WithTimeout(req.Context(), turnWait)
	defer cancel()
	if err := u.lock(ctx); err != nil {
		return uploadProblem(err)
	}
	defer u.unlock()
	switch req.Method {
	case http.MethodPatch:
		if err := r.take(w, req, u); err != nil {
			return err
		}
		progress(w, req, u)
		w.WriteHeader(http.StatusAccepted)
		return nil
	case http.MethodPut:
		return r.close(w, req, u)
	}
	if err := u.discard(); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// post begins an upload, or spares the client one.
func (r *Registry) post(w http.ResponseWriter, req request) error {
	query := req.URL.Query()
	if mount := query.Get("mount"); mount != "" {
		d, err := parseDigest(mount)
		if err != nil {
			return &problem{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
		}
		// Where it is said to be does not matter: what counts is that the caller may read it somewhere.
		if _, found := r.index.visible(req.repository, d, req.caller.pulls); found {
			err := r.Hold(req.repository, d.String())
			if err == nil {
				return created(w, req, d)
			}
			if !errors.Is(err, ErrNotFound) {
				return err
			}
		}
	}
	s := session{Repository: req.repository, Algorithm: sha256Name}
	if query.Get("digest-algorithm") == sha512Name {
		s.Algorithm = sha512Name
	}
	whole, err := parseDigest(query.Get("digest"))
	switch {
	case err == nil:
		s.Algorithm = whole.algorithm
	case query.Has("digest"):
		return &problem{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	}
	if err := r.disk.room(max(req.ContentLength, 0)); err != nil {
		return err
	}
	u, err := r.begin(s)
	if err != nil {
		return err
	}
	if query.Has("digest") {
		if err := u.lock(req.Context()); err != nil {
			return uploadProblem(err)
		}
		defer u.unlock()
		if err := r.close(w, req, u); err != nil { // nobody knows its address
			return errors.Join(err, u.discard())
		}
		return nil
	}
	progress(w, req, u)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// close takes the last part, if any, and makes the upload a blob.
func (r *Registry) close(w http.ResponseWriter, req request, u *transfer) error {
	d, err := parseDigest(req.URL.Query().Get("digest"))
	if err != nil {
		return &problem{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	}
	if err := r.take(w, req, u); err != nil {
		return err
	}
	if err := u.finish(d); err != nil {
		return err
	}
	return created(w, req, d)
}

// take appends a request's body, when it begins where the upload ends.
func (r *Registry) take(w http.ResponseWriter, req request, u *transfer) error {
	if text := req.Header.Get("Content-Range"); text != "" {
		first, last, err := parseRange(text)
		if err != nil {
			return &problem{http.StatusBadRequest, "BLOB_UPLOAD_INVALID", err.Error()}
		}
		if first != u.size.Load() {
			progress(w, req, u)
			return &problem{http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID",
				fmt.Sprintf("part begins at %d, the upload has %d bytes", first, u.size.Load())}
		}
		if req.ContentLength >= 0 && last-first+1 != req.ContentLength {
			return &problem{http.StatusBadRequest, "SIZE_INVALID", fmt.Sprintf("Content-Range %s with %d bytes", text, req.ContentLength)}
		}
	}
	if req.ContentLength == 0 {
		return nil
	}
	err := r.disk.room(max(req.ContentLength, 0))
	if err == nil {
		err = u.receive(req.Body)
	}
	if errors.Is(err, ErrFull) { // what is kept would keep the disk full
		return errors.Join(err, u.discard())
	}
	if errors.Is(err, errBroken) {
		return &problem{http.StatusBadRequest, "BLOB_UPLOAD_INVALID", err.Error()}
	}
	return uploadProblem(err)
}

// parseRange reads the Content-Range of a part: "first-last", both included, in bytes.
func parseRange(text string) (first, last int64, err error) {
	from, to, found := strings.Cut(text, "-")
	first, err = strconv.ParseInt(from, 10, 64)
	if err == nil {
		last, err = strconv.ParseInt(to, 10, 64)
	}
	if !found || err != nil || first < 0 || last < first {
		return 0, 0, fmt.Errorf("Content-Range %.60q, want first-last: %w", text, ErrInvalid)
	}
	return first, last, nil
}

// progress says where the upload goes on, and what it has.
func progress(w http.ResponseWriter, req request, u *transfer) {
	header := w.Header()
	header.Set("Location", contentPath(req.repository, "blobs/uploads", u.id))
	header.Set("Docker-Upload-UUID", u.id)
	header.Set("Range", "0-"+strconv.FormatInt(max(u.size.Load()-1, 0), 10))
}

func created(w http.ResponseWriter, req request, d digest) error {
	w.Header().Set("Location", contentPath(req.repository, "blobs", d.String()))
	w.Header().Set(contentDigest, d.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

func uploadProblem(err error) error {
	if errors.Is(err, ErrNotFound) {
		return &problem{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "the registry has no such upload in this repository"}
	}
	return err
}

package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// problem is an answer that says what is wrong, distribution-spec "Error Codes".
type problem struct {
	status  int
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (p *problem) Error() string { return p.Message }

var (
	unknownRepository = &problem{http.StatusNotFound, "NAME_UNKNOWN", "the registry has no such repository"}
	unsupported       = &problem{http.StatusMethodNotAllowed, "UNSUPPORTED", "this address does not know the method"}
	unknownBlob       = &problem{http.StatusNotFound, "BLOB_UNKNOWN", "the registry has no such blob, or none that you may read"}
)

// Handler answers the network with distribution-spec's API below /v2/.
func (r *Registry) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
		select {
		case r.requests <- struct{}{}:
			defer func() { <-r.requests }()
		default:
			r.answer(w, req, fmt.Errorf("the registry answers as many requests as it can: %w", ErrBusy))
			return
		}
		if err := r.serve(w, req); err != nil {
			r.answer(w, req, err)
		}
	})
}

// request is one that was let in.
type request struct {
	*http.Request
	address
	caller caller
}

func (r *Registry) serve(w http.ResponseWriter, raw *http.Request) error {
	view, at, mirrored := parseMirrored(raw.URL.Path)
	if !mirrored {
		at = parsePath(raw.URL.Path)
	}
	if at.kind == onToken && !mirrored {
		return r.token(w, raw)
	}
	who, valid := r.identify(raw)
	if !valid {
		return r.challenge(w, raw, at, "user and password, or the token, are wrong")
	}
	if mirrored {
		return r.mirrored(w, raw, who, view, at)
	}
	req := request{raw, at, who}
	switch at.kind {
	case onNothing:
		return &problem{http.StatusNotFound, "NAME_UNKNOWN", "the registry has no such address"}
	case onPing:
		return r.ping(w, req)
	case onCatalog:
		return r.catalog(w, req)
	}
	if err := checkRepository(at.repository); err != nil {
		return &problem{http.StatusBadRequest, "NAME_INVALID", err.Error()}
	}
	if err := r.admit(w, req); err != nil {
		return err
	}
	switch at.kind {
	case onManifests, onBlobs:
		return r.content(w, req)
	case onUploads, onUpload:
		return r.upload(w, req)
	case onTags:
		return r.tagList(w, req)
	default:
		return r.referrersList(w, req)
	}
}

// admit decides whether the caller may do that to the repository.
func (r *Registry) admit(w http.ResponseWriter, req request) error {
	reading := (req.Method == http.MethodGet || req.Method == http.MethodHead) && req.kind != onUpload && req.kind != onUploads
	if reading && req.caller.pulls(req.repository) || !reading && req.caller.pushes(req.repository) {
		return nil
	}
	switch {
	case len(r.access.Load().users) == 0:
		return &problem{http.StatusForbidden, "DENIED", "nobody may push into this registry over the network: the appliance's configuration names no users"}
	case req.caller.Name == "":
		return r.challenge(w, req.Request, req.address, "log in for this")
	default:
		r.log.Warn("request denied", "user", req.caller.Name, "method", req.Method, "repository", req.repository, "ip", req.RemoteAddr)
		return &problem{http.StatusForbidden, "DENIED", fmt.Sprintf("user %s has no right to do this in %s", req.caller.Name, req.repository)}
	}
}

// ping answers who has nothing to prove, and asks the others: many clients learn here whether they are to log in, and only here.
func (r *Registry) ping(w http.ResponseWriter, req request) error {
	a := r.access.Load()
	if req.Header.Get("Authorization") == "" && (len(a.users) > 0 || len(a.public) == 0) {
		return r.challenge(w, req.Request, req.address, "log in, or ask for an anonymous token")
	}
	return writeJSON(w, struct{}{})
}

// challenge says where tokens are to be had.
func (r *Registry) challenge(w http.ResponseWriter, req *http.Request, at address, message string) error {
	scheme := "https"
	if req.TLS == nil {
		scheme = "http"
	}
	text := fmt.Sprintf("Bearer realm=%s,service=%s", strconv.Quote(scheme+"://"+req.Host+"/v2/_token"), strconv.Quote(req.Host))
	if checkRepository(at.repository) == nil {
		text += fmt.Sprintf(`,scope="repository:%s:pull,push"`, at.repository)
	}
	w.Header().Set("WWW-Authenticate", text)
	return &problem{http.StatusUnauthorized, "UNAUTHORIZED", message}
}

// token exchanges user and password for a token, and nothing for one that may what everybody may.
// Rights are looked at when the token is used, so the scope that clients ask for does not matter.
func (r *Registry) token(w http.ResponseWriter, req *http.Request) error {
	if req.Method != http.MethodGet {
		return unsupported // clients that try OAuth2 first come back with GET
	}
	a := r.access.Load()
	who, valid := r.identify(req)
	if !valid || who.Name == "" && len(a.public) == 0 {
		w.Header().Set("WWW-Authenticate", "Basic realm="+strconv.Quote(req.Host))
		return &problem{http.StatusUnauthorized, "UNAUTHORIZED", "user and password are needed, and must be right"}
	}
	value := r.writeToken(a, who.Name)
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, map[string]any{
		"token": value, "access_token": value, "expires_in": int(tokenLife.Seconds()), "issued_at": r.now().UTC().Format(time.RFC3339),
	})
}

// answer writes an error as the specification has it.
func (r *Registry) answer(w http.ResponseWriter, req *http.Request, err error) {
	var p *problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, ErrNotFound):
		p = &problem{http.StatusNotFound, "MANIFEST_UNKNOWN", err.Error()}
	case errors.Is(err, ErrDigest) && req.Method != http.MethodGet && req.Method != http.MethodHead:
		p = &problem{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	case errors.Is(err, ErrInvalid):
		p = &problem{http.StatusBadRequest, "MANIFEST_INVALID", err.Error()}
	case errors.Is(err, ErrBusy):
		w.Header().Set("Retry-After", "1")
		p = &problem{http.StatusTooManyRequests, "TOOMANYREQUESTS", err.Error()}
	case errors.Is(err, ErrFull):
		r.log.Warn("push refused", "path", req.URL.Path, "err", err)
		p = &problem{http.StatusInsufficientStorage, "DENIED", err.Error()}
	default:
		r.log.Error("request failed", "method", req.Method, "path", req.URL.Path, "err", err)
		p = &problem{http.StatusInternalServerError, "UNKNOWN", "the registry has a problem, which its log explains"}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.status)
	// A client that has gone needs no answer.
	_ = json.NewEncoder(w).Encode(map[string][]*problem{"errors": {p}})
}

func writeJSON(w http.ResponseWriter, value any) error {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	_, _ = w.Write(raw) // a client that has gone needs no answer
	return nil
}

// contentPath is where clients find content.
func contentPath(repository, what, reference string) string {
	return strings.Join([]string{"/v2", repository, what, reference}, "/")
}

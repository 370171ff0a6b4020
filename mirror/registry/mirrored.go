package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// MirroredPath is where clients ask for images by their original names: /v2/_mirror/<view>/<repository>/… with the registry's
// name as the parameter ns, as containerd asks mirrors. A view is a name for a set of rules. No repository's name begins with _.
const MirroredPath = "/v2/_mirror/"

// Places of an image that is asked for by its original name.
type Places struct {
	// Here are repositories of this registry that may have it, the preferred one first.
	Here []string
	// Elsewhere is where clients are sent when none of them has: https://host/v2/repository. Empty when it is to be had nowhere else.
	Elsewhere string
	// Why it is to be had nowhere else.
	Why string
}

// Resolve finds the places of an image by the rules of a view; host is empty when the client names none, and means this registry.
type Resolve func(ctx context.Context, view, host, repository string, byDigest bool) (Places, error)

var (
	viewName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,125}[a-z0-9])?$`)
	hostText = regexp.MustCompile(`^([a-zA-Z0-9][a-zA-Z0-9.-]*|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$`)
)

// Mirror makes the registry answer below MirroredPath by the rules that resolve knows.
func (r *Registry) Mirror(resolve Resolve) { r.resolve.Store(&resolve) }

// parseMirrored reads a path below MirroredPath: the view, and the address as if the image were here.
func parseMirrored(path string) (view string, at address, found bool) {
	rest, found := strings.CutPrefix(path, MirroredPath)
	if !found {
		return "", address{}, false
	}
	view, rest, _ = strings.Cut(rest, "/")
	if !viewName.MatchString(view) || len(path) > maxPath {
		return "", address{}, true
	}
	return view, parsePath("/v2/" + rest), true
}

// mirrored answers for an image by its original name: with content of this registry, or by sending the client elsewhere.
func (r *Registry) mirrored(w http.ResponseWriter, raw *http.Request, who caller, view string, at address) error {
	resolve, host := r.resolve.Load(), raw.URL.Query().Get("ns")
	switch {
	case resolve == nil || at.kind != onManifests && at.kind != onBlobs:
		return &problem{http.StatusNotFound, "NAME_UNKNOWN", "manifests and blobs are to be had by their original names, and nothing else"}
	case raw.Method != http.MethodGet && raw.Method != http.MethodHead:
		return unsupported
	case checkRepository(at.repository) != nil || host != "" && !hostText.MatchString(host) || strings.Contains(at.reference, "/"):
		return &problem{http.StatusBadRequest, "NAME_INVALID", "want a repository, and a registry's host[:port] as ns"}
	}
	_, notDigest := parseDigest(at.reference)
	if notDigest != nil && checkTag(at.reference) != nil {
		return &problem{http.StatusBadRequest, "MANIFEST_INVALID", "reference is neither a tag nor a digest: " + notDigest.Error()}
	}
	places, err := (*resolve)(raw.Context(), view, host, at.repository, notDigest == nil)
	if err != nil {
		return err
	}
	hidden := ""
	for _, repository := range places.Here {
		here := address{kind: at.kind, repository: repository, reference: at.reference}
		if !r.has(here) {
			continue
		}
		if !who.pulls(repository) {
			hidden = repository
			continue
		}
		return r.content(w, request{raw, here, who})
	}
	if hidden != "" {
		return r.admit(w, request{raw, address{kind: at.kind, repository: hidden, reference: at.reference}, who})
	}
	if places.Elsewhere == "" {
		return &problem{http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("%s/%s %s is not here (looked into %s): %s",
			host, at.repository, at.reference, strings.Join(places.Here, ", "), places.Why)}
	}
	what := "manifests"
	if at.kind == onBlobs {
		what = "blobs"
	}
	http.Redirect(w, raw, places.Elsewhere+"/"+what+"/"+url.PathEscape(at.reference), http.StatusTemporaryRedirect)
	return nil
}

// has tells whether a repository has the manifest or blob.
func (r *Registry) has(at address) bool {
	if at.kind == onManifests {
		_, _, found := r.index.resolve(at.repository, at.reference)
		return found
	}
	d, err := parseDigest(at.reference)
	if err != nil {
		return false
	}
	_, found := r.index.visible(at.repository, d, func(name string) bool { return name == at.repository })
	return found
}

// content answers for manifests and blobs.
func (r *Registry) content(w http.ResponseWriter, req request) error {
	if req.kind == onBlobs {
		return r.blob(w, req)
	}
	return r.manifest(w, req)
}

// RepositoriesOf lists the repositories that have a manifest, in their order.
func (r *Registry) RepositoriesOf(digest string) []string {
	var found []string
	for _, name := range r.index.names() {
		if _, _, there := r.index.resolve(name, digest); there {
			found = append(found, name)
		}
	}
	return found
}

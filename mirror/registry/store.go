package registry

import (
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// anyManifest spells out what a missing Accept header and a wildcard mean: the store knows exact media types only.
func anyManifest(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		accept := strings.Join(req.Header.Values("Accept"), ",")
		if accept == "" || strings.Contains(accept, "*/*") {
			req = req.Clone(req.Context())
			req.Header.Set("Accept", strings.Join([]string{
				string(types.OCIImageIndex), string(types.OCIManifestSchema1),
				string(types.DockerManifestList), string(types.DockerManifestSchema2),
			}, ","))
		}
		next.ServeHTTP(w, req)
	})
}

// opener lets one request at a time look into the store, up to where its answer begins: the store shares whether a repository
// exists between requests without a lock. Bodies stream side by side.
type opener struct {
	next http.Handler
	mu   sync.Mutex
}

func (o *opener) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	// An upload's body may come from this very registry, so it must not wait while it holds the lock; and it needs none.
	if (req.Method == http.MethodPatch || req.Method == http.MethodPut) && strings.Contains(req.URL.Path, "/blobs/uploads/") {
		o.next.ServeHTTP(w, req)
		return
	}
	o.mu.Lock()
	opened := &opened{ResponseWriter: w, unlock: sync.OnceFunc(o.mu.Unlock)}
	defer opened.unlock()
	o.next.ServeHTTP(opened, req)
}

// opened gives the lock back when the answer begins.
type opened struct {
	http.ResponseWriter
	unlock func()
}

func (w *opened) WriteHeader(status int) {
	w.unlock()
	w.ResponseWriter.WriteHeader(status)
}

func (w *opened) Write(p []byte) (int, error) {
	w.unlock()
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *opened) Unwrap() http.ResponseWriter { return w.ResponseWriter }

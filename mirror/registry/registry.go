// Package registry is the site's embedded OCI registry: hosts pull from it without a password, only this process pushes into it.
package registry

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"
)

const (
	// maxPulls bounds the requests that are answered at once; a client that is turned away comes back.
	maxPulls = 256
	// maxPath is far above what repository names (255) and digests need.
	maxPath = 512
	// maxManifest is the size that other registries accept as well.
	maxManifest = 4 << 20
)

// Config says where the registry keeps its content.
type Config struct {
	Dir string
	Log *slog.Logger
}

// Registry serves OCI images from a directory that has an OCI layout per repository.
type Registry struct {
	dir    string
	log    *slog.Logger
	store  *olareg.Server
	serve  http.Handler
	pulls  chan struct{}
	writer http.RoundTripper
}

// New returns a registry on the directory, which appears with the first image.
func New(c Config) *Registry {
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	allowed := true
	var conf config.Config
	conf.Log = log
	conf.Storage.StoreType = config.StoreDir
	conf.Storage.RootDir = c.Dir
	conf.Storage.GC.Frequency = -1 // content leaves by decision, never by age
	conf.Storage.GC.GracePeriod = -1
	conf.API.Manifest.Limit = maxManifest
	conf.API.DeleteEnabled = &allowed // in-process only: replaces content that does not match its digest
	conf.API.Blob.DeleteEnabled = &allowed
	store := olareg.New(conf)
	serve := anyManifest(&opener{next: store})
	return &Registry{
		dir:    c.Dir,
		log:    log,
		store:  store,
		serve:  serve,
		pulls:  make(chan struct{}, maxPulls),
		writer: inProcess{handler: serve},
	}
}

// Handler answers the network: the pull half of the distribution API, anonymously. It refuses every change.
func (r *Registry) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if (req.Method != http.MethodGet && req.Method != http.MethodHead) || strings.Contains(req.URL.Path, "/blobs/uploads") {
			r.log.Warn("push refused", "method", req.Method, "path", req.URL.Path, "remote", req.RemoteAddr)
			refuse(w, http.StatusForbidden, "DENIED", "this registry is read-only over the network: the appliance imports its content")
			return
		}
		select {
		case r.pulls <- struct{}{}:
			defer func() { <-r.pulls }()
		default:
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "the registry answers as many requests as it can")
			return
		}
		if !r.known(req.URL.Path) {
			refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "the registry has no such repository")
			return
		}
		r.serve.ServeHTTP(w, req)
	})
}

// Transport reaches the registry without a network, with the right to push; the host in the request does not matter.
func (r *Registry) Transport() http.RoundTripper { return r.writer }

// Close ends the registry, once those who use its handler and transport have stopped.
func (r *Registry) Close() error {
	if err := r.store.Close(); err != nil {
		return fmt.Errorf("close registry: %w", err)
	}
	return nil
}

// known keeps names that nobody pushed away from the store, which remembers each repository that it was ever asked for.
func (r *Registry) known(urlPath string) bool {
	if len(urlPath) > maxPath {
		return false
	}
	clean := strings.TrimPrefix(path.Clean("/"+urlPath), "/v2")
	if clean == "" {
		return true
	}
	end := 0
	for _, part := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		end = max(end, strings.LastIndex(clean, part))
	}
	repository := strings.TrimPrefix(clean[:end], "/")
	if !fs.ValidPath(repository) || repository == "" || repository == "." {
		return false
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return false
	}
	defer root.Close()
	_, err = root.Stat(filepath.Join(repository, "index.json"))
	return err == nil
}

// Sync makes a repository's content outlive a loss of power: the store itself leaves that to the kernel.
func (r *Registry) Sync(repository string) error {
	if !fs.ValidPath(repository) {
		return fmt.Errorf("sync repository %q: not a repository name", repository)
	}
	err := filepath.WalkDir(filepath.Join(r.dir, repository), func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncPath(name)
	})
	if err != nil {
		return fmt.Errorf("sync repository %s: %w", repository, err)
	}
	for dir := filepath.Join(r.dir, path.Dir(repository)); strings.HasPrefix(dir, r.dir); dir = filepath.Dir(dir) {
		if err := syncPath(dir); err != nil {
			return fmt.Errorf("sync repository %s: %w", repository, err)
		}
	}
	return nil
}

func syncPath(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	type problem struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	w.WriteHeader(status)
	// A client that has gone needs no answer.
	_ = json.NewEncoder(w).Encode(map[string][]problem{"errors": {{Code: code, Message: message}}})
}

// Package image has live ISO, initrd and PXE artifacts, customised while streaming.
//
// Nothing is copied per InfraEnv: an initrd is the base file and a small archive with the InfraEnv's config.ign, read one
// after the other; an ISO is the base with that archive and the kernel arguments laid over it. The archive is rendered once per generation and address of the appliance, and a request keeps the one that it began with.
package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/openshift/assisted-service/api/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// InfraEnvs finds InfraEnvs and decides what a machine boots.
type InfraEnvs interface {
	// ByUID gives the InfraEnv with that UID, or ErrNotFound, or the API's not found.
	ByUID(ctx context.Context, uid string) (*v1beta1.InfraEnv, error)
	// BootDecision says what the machine with one of the two, mac or uuid, boots. Either may be empty, not both. The
	// architecture (as x86_64) chooses among InfraEnvs for a machine that nobody knows.
	// Not found means that the machine waits until there is an InfraEnv for it.
	BootDecision(ctx context.Context, mac net.HardwareAddr, uuid, architecture string) (Decision, error)
}

// Decision is what a machine boots: its disk, or the live OS of an InfraEnv, or nothing yet.
type Decision struct {
	// Local starts the installed system.
	Local bool
	// Wait says on the machine's screen why it has to come back.
	Wait string
	// InfraEnv whose live OS it boots.
	InfraEnv *v1beta1.InfraEnv
}

// Tokens makes and checks the tokens of InfraEnvs.
type Tokens interface {
	InfraEnv(uid string) string
	// CheckInfraEnv compares in constant time.
	CheckInfraEnv(uid, token string) bool
}

// ErrNotFound says that there is no such InfraEnv.
var ErrNotFound = errors.New("there is no such InfraEnv")

// Config is what the service is made of.
type Config struct {
	// OSImages by version and architecture; the first of an architecture is its default.
	OSImages []*OS
	// Agents by architecture.
	Agents map[string]*Agent
	// Addresses of the appliance, the one that hosts are told by default first, and the port of the plain HTTP front.
	Addresses []netip.Addr
	HTTPPort  int
	// Secure says that this front speaks TLS.
	Secure    bool
	InfraEnvs InfraEnvs
	Tokens    Tokens
	// Discovery renders the config.ign of an InfraEnv for hosts that reach the appliance at the address.
	Discovery func(context.Context, *v1beta1.InfraEnv, netip.Addr) ([]byte, error)
	// Network is the cpio archive with the static networking of an InfraEnv's hosts, nil when it has none. It is asked
	// again when the InfraEnv's generation or its api.ImageAnnotation is another one. Nil is no static networking.
	Network func(context.Context, *v1beta1.InfraEnv) ([]byte, error)
	Log     *slog.Logger
}

// Service answers what machines ask for until their OS runs.
type Service struct {
	*systems
	config   Config
	overlays *overlays
	asked    *asked
	mux      *http.ServeMux
}

// New checks the configuration and makes the service.
func New(config Config) (*Service, error) {
	if len(config.Addresses) == 0 || config.HTTPPort <= 0 {
		return nil, errors.New("image service: a site address and the HTTP port are needed")
	}
	images := &systems{}
	for _, os := range config.OSImages {
		if err := images.Add(os); err != nil {
			return nil, fmt.Errorf("image service: %w", err)
		}
	}
	s := &Service{systems: images, config: config, overlays: newOverlays(config), asked: newAsked(), mux: http.NewServeMux()}
	for pattern, handler := range s.Routes() {
		s.mux.Handle(pattern, handler)
	}
	return s, nil
}

// Routes are the handlers by pattern of http.ServeMux. Each works on the plain and on the TLS front.
func (s *Service) Routes() map[string]http.Handler {
	return map[string]http.Handler{
		"GET /boot.ipxe":              http.HandlerFunc(s.bootScript),
		"GET /boot-artifacts/{name}":  http.HandlerFunc(s.artifact),
		"GET /images/{id}/pxe-initrd": http.HandlerFunc(s.initrd),
		"GET /boot/":                  http.HandlerFunc(s.bootFile),
		"GET /grub/":                  http.HandlerFunc(s.bootFile),
		"GET /pxelinux.cfg/":          http.HandlerFunc(s.bootFile),

		"GET /images/{id}/s390x-initrd-addrsize": http.HandlerFunc(s.addrSize),
		"GET /images/{id}":                       http.HandlerFunc(s.isoByQuery),

		"GET /boot-artifacts/{version}/{arch}/{name}":                  http.HandlerFunc(s.artifact),
		"GET /byid/{id}/{version}/{arch}/{file}":                       http.HandlerFunc(s.isoByPath),
		"GET /byapikey/{api_key}/{version}/{arch}/{file}":              http.HandlerFunc(s.isoByPath),
		"GET /bytoken/{token}/{version}/{arch}/{file}":                 http.HandlerFunc(s.isoByPath),
		"GET /api/assisted-install/v2/infra-envs/{id}/downloads/files": http.HandlerFunc(s.download),
	}
}

// ServeHTTP implements http.Handler with all routes.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// authorized gives the InfraEnv that the path names, if the asker has its token. Otherwise it has answered.
func (s *Service) authorized(w http.ResponseWriter, r *http.Request) (*v1beta1.InfraEnv, bool) {
	id, err := parseID(r.PathValue("id"))
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return nil, false
	}
	shown := token(r)
	switch {
	case shown == "":
		problem(w, http.StatusUnauthorized, "the InfraEnv's token is missing: api_key or X-Secret-Key")
		return nil, false
	case !s.config.Tokens.CheckInfraEnv(id, shown):
		s.config.Log.Warn("infraenv token refused", "infraEnvID", id, "remote", r.RemoteAddr)
		problem(w, http.StatusForbidden, "the token is not that of the InfraEnv")
		return nil, false
	}
	infraEnv, err := s.config.InfraEnvs.ByUID(r.Context(), id)
	switch {
	case missing(err):
		problem(w, http.StatusNotFound, ErrNotFound.Error())
		return nil, false
	case err != nil:
		s.broken(w, r, fmt.Errorf("find InfraEnv %s: %w", id, err))
		return nil, false
	}
	return infraEnv, true
}

func missing(err error) bool { return errors.Is(err, ErrNotFound) || apierrors.IsNotFound(err) }

// broken logs what is wrong on this side and says only that something is.
func (s *Service) broken(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the asker has gone
	}
	s.config.Log.Error("image request", "path", r.URL.Path, "remote", r.RemoteAddr, "err", err)
	problem(w, http.StatusServiceUnavailable, "the appliance cannot answer this now, its log says why")
}

// problem writes a problem document (RFC 9457).
func problem(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail,
	})
	if err != nil {
		body = nil
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The connection may be gone; then there is nobody to tell.
	_, _ = w.Write(body)
}

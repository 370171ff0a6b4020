package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/ipxe"
)

// comeBack is how long a machine waits that has nothing to boot yet.
const comeBack = 3 * time.Second

const noInfraEnv = "There is no InfraEnv for this machine yet"

// bootScript answers /boot.ipxe: what this machine boots. A machine that asks always gets a script, because a loader that
// gets an error gives up and leaves the machine to its firmware.
func (s *Service) bootScript(w http.ResponseWriter, r *http.Request) {
	asking, err := parseMachine(r.URL.Query())
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	base := s.base(r.Context())
	if asking.mac == nil && asking.uuid == "" {
		writeScript(w, r, identify(base+ipxe.ScriptPath+"?mac=${netX/mac}&uuid=${uuid}&arch=${buildarch}"))
		return
	}
	again := base + ipxe.ScriptPath + "?" + asking.query()
	script, err := s.answer(r.Context(), asking, base, scripts(again), "remote", r.RemoteAddr)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	writeScript(w, r, script)
}

func (m machine) query() string {
	query := url.Values{"arch": {m.architecture}}
	if m.mac != nil {
		// Hyphens need no escapes.
		query.Set("mac", strings.ReplaceAll(m.mac.String(), ":", "-"))
	}
	if m.uuid != "" {
		query.Set("uuid", m.uuid)
	}
	return query.Encode()
}

// download answers …/downloads/files: the script of an InfraEnv, or its discovery Ignition.
func (s *Service) download(w http.ResponseWriter, r *http.Request) {
	infraEnv, ok := s.authorized(w, r)
	if !ok {
		return
	}
	switch name := r.URL.Query().Get("file_name"); name {
	case "discovery.ign":
		over, err := s.overlays.of(r.Context(), infraEnv, s.Reached(r.Context()))
		if err != nil {
			s.broken(w, r, err)
			return
		}
		w.Header().Set("Last-Modified", over.rendered.UTC().Format(http.TimeFormat))
		attach(w, r, name, "application/vnd.coreos.ignition+json", over.config)
	case "ipxe-script":
		s.infraEnvScript(w, r, infraEnv)
	default:
		problem(w, http.StatusBadRequest, fmt.Sprintf("file_name %q is none of discovery.ign, ipxe-script", name))
	}
}

// infraEnvScript is the script of one InfraEnv, with or without a look at whether the machine is installed.
func (s *Service) infraEnvScript(w http.ResponseWriter, r *http.Request, infraEnv *v1beta1.InfraEnv) {
	asking, err := parseMachine(r.URL.Query())
	ordered, orderErr := bootOrder(r.URL.Query().Get("ipxe_script_type"), infraEnv)
	if err := errors.Join(err, orderErr); err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	base := s.base(r.Context())
	if ordered && asking.mac == nil {
		query := url.Values{
			"file_name": {"ipxe-script"}, "ipxe_script_type": {"boot-order-control"},
			"api_key": {s.config.Tokens.InfraEnv(string(infraEnv.UID))},
		}
		writeScript(w, r, identify(base+r.URL.Path+"?"+query.Encode()+"&mac=${netX/mac}&arch=${buildarch}"))
		return
	}
	if ordered {
		decision, err := s.config.InfraEnvs.BootDecision(r.Context(), asking.mac, asking.uuid, asking.architecture)
		if err != nil && !missing(err) {
			s.broken(w, r, fmt.Errorf("decide boot of %s: %w", asking.mac, err))
			return
		}
		if decision.Local {
			problem(w, http.StatusNotFound, "the host is installed and boots from its disk")
			return
		}
	}
	architecture := asking.architecture
	if r.URL.Query().Get("arch") == "" {
		if architecture, err = parseArchitecture(infraEnv.Spec.CpuArchitecture); err != nil {
			problem(w, http.StatusConflict, err.Error())
			return
		}
	}
	script, err := s.discovery(r.Context(), infraEnv, architecture, base, scripts(""))
	if err != nil {
		s.config.Log.Warn("infraenv script", "infraEnv", infraEnv.Namespace+"/"+infraEnv.Name, "err", err)
		problem(w, http.StatusConflict, err.Error())
		return
	}
	writeScript(w, r, script)
}

// bootOrder says whether installed hosts boot from their disk.
func bootOrder(asked string, infraEnv *v1beta1.InfraEnv) (bool, error) {
	switch asked {
	case "":
		return infraEnv.Spec.IPXEScriptType == v1beta1.BootOrderControl, nil
	case "boot-order-control":
		return true, nil
	case "discovery-image-always":
		return false, nil
	}
	return false, fmt.Errorf("%w: ipxe_script_type %q is none of boot-order-control, discovery-image-always", errQuery, asked)
}

// identify is a script that asks again, with what only the loader knows filled in.
func identify(address string) string {
	return "#!ipxe\nchain --replace --autofree " + address + "\n"
}

func writeScript(w http.ResponseWriter, r *http.Request, script string) {
	attach(w, r, "", ipxe.ContentType, []byte(script))
}

// attach writes a small answer that may hold a token.
func attach(w http.ResponseWriter, r *http.Request, name, kind string, content []byte) {
	header := w.Header()
	header.Set("Content-Type", kind)
	header.Set("Content-Length", strconv.Itoa(len(content)))
	header.Set("Cache-Control", "no-store")
	if name != "" {
		header.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	}
	if r.Method == http.MethodHead {
		return
	}
	// The connection may be gone; then there is nobody to tell.
	_, _ = w.Write(content)
}

// base is where the machine that asks reaches the front that boots: at the address that it asked, or one of that family.
// Loaders and initramfs often have neither DNS nor the site CA.
func (s *Service) base(ctx context.Context) string {
	return s.baseAt(s.Reached(ctx))
}

func (s *Service) baseAt(address netip.Addr) string {
	scheme := "http://"
	if s.config.Secure {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(address.String(), strconv.Itoa(s.config.HTTPPort))
}

// Reached is the site's address that the host came to whose HTTP request has the context, or one of that family: what the
// host is told instead of a name. Without a request it is the site's first address.
func (s *Service) Reached(ctx context.Context) netip.Addr {
	if local, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr); ok {
		if at, err := netip.ParseAddrPort(local.String()); err == nil {
			return s.nearest(at.Addr().Unmap().WithZone(""))
		}
	}
	return s.config.Addresses[0]
}

func (s *Service) nearest(local netip.Addr) netip.Addr {
	chosen, sameFamily := s.config.Addresses[0], false
	for _, address := range s.config.Addresses {
		if address == local {
			return address
		}
		if !sameFamily && address.Is4() == local.Is4() {
			chosen, sameFamily = address, true
		}
	}
	return chosen
}

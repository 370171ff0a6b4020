package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	given, err := s.decide(r.Context(), asking, base, again)
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelError
		if given, err = wait("Slipway cannot say what to boot, its log says why", err.Error(), again); err != nil {
			s.broken(w, r, err)
			return
		}
	}
	if s.asked.news(asking, given) {
		s.config.Log.Log(r.Context(), level, "boot script",
			"mac", asking.mac.String(), "uuid", asking.uuid, "remote", r.RemoteAddr, "boots", given.what)
	}
	writeScript(w, r, given.script)
}

// answer is a script and what it does.
type answer struct {
	script, what string
	waits        bool
}

// decide renders the script of a machine.
func (s *Service) decide(ctx context.Context, asking machine, base, again string) (answer, error) {
	decision, err := s.config.InfraEnvs.BootDecision(ctx, asking.mac, asking.uuid)
	switch {
	case missing(err):
		return wait(noInfraEnv, "waits for an InfraEnv", again)
	case err != nil:
		return answer{}, fmt.Errorf("decide: %w", err)
	case decision.Local:
		return answer{script: ipxe.LocalDisk(), what: "local disk"}, nil
	case decision.InfraEnv == nil && decision.Wait == "":
		return wait(noInfraEnv, "waits for an InfraEnv", again)
	case decision.InfraEnv == nil:
		return wait(decision.Wait, "waits: "+decision.Wait, again)
	}
	script, err := s.discovery(decision.InfraEnv, asking.architecture, base, again)
	if errors.Is(err, errInfraEnv) {
		return wait(err.Error(), "waits: "+err.Error(), again)
	}
	return answer{script: script, what: "InfraEnv " + decision.InfraEnv.Namespace + "/" + decision.InfraEnv.Name}, err
}

func wait(message, what, again string) (answer, error) {
	script, err := ipxe.Wait(message, comeBack, again)
	return answer{script: script, what: what, waits: true}, err
}

// errInfraEnv is a mistake in an InfraEnv that keeps its machines from booting; they show it.
var errInfraEnv = errors.New("this machine cannot boot")

// discovery renders the boot of an InfraEnv's live OS.
func (s *Service) discovery(infraEnv *v1beta1.InfraEnv, architecture, base, again string) (string, error) {
	image, ok := s.OS(infraEnv.Spec.OSImageVersion, architecture)
	if !ok {
		return "", fmt.Errorf("%w: there is no OS image %s for %s", errInfraEnv, infraEnv.Spec.OSImageVersion, architecture)
	}
	args, err := kernelArguments(infraEnv)
	if err != nil {
		return "", err
	}
	which := url.Values{"arch": {architecture}, "version": {image.Version}}
	public := which.Encode()
	which.Set("api_key", s.config.Tokens.InfraEnv(string(infraEnv.UID)))
	return ipxe.Discovery{
		Kernel: base + "/boot-artifacts/kernel?" + public,
		Rootfs: base + "/boot-artifacts/rootfs?" + public,
		Initrd: base + "/images/" + string(infraEnv.UID) + "/pxe-initrd?" + which.Encode(),
		Args:   args,
		Retry:  again,
	}.Script()
}

func kernelArguments(infraEnv *v1beta1.InfraEnv) ([]string, error) {
	var args []string
	for _, argument := range infraEnv.Spec.KernelArguments {
		if argument.Operation != "append" {
			return nil, fmt.Errorf("%w: InfraEnv %s/%s: kernel argument %q: operation %q is not supported, only append is",
				errInfraEnv, infraEnv.Namespace, infraEnv.Name, argument.Value, argument.Operation)
		}
		if err := ipxe.Word(argument.Value); err != nil {
			return nil, fmt.Errorf("%w: InfraEnv %s/%s: kernel argument %q %w",
				errInfraEnv, infraEnv.Namespace, infraEnv.Name, argument.Value, err)
		}
		args = append(args, argument.Value)
	}
	return args, nil
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
		decision, err := s.config.InfraEnvs.BootDecision(r.Context(), asking.mac, asking.uuid)
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
	script, err := s.discovery(infraEnv, architecture, base, "")
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

// base is where the machine that asks reaches the plain front: at the address that it asked, or one of that family.
// Loaders and initramfs often have neither DNS nor the site CA.
func (s *Service) base(ctx context.Context) string {
	return "http://" + net.JoinHostPort(s.Reached(ctx).String(), strconv.Itoa(s.config.HTTPPort))
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

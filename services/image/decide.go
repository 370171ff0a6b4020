package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"

	"github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/ipxe"
)

// format is one kind of boot configuration.
type format struct {
	// discover renders the live OS, local the start of the installed one, wait a message and another look.
	discover func(ipxe.Discovery) (string, error)
	local    func() (string, error)
	wait     func(message string) (string, error)
	// paths are where loaders that take no URL find kernel and initrd; nil gives URLs.
	paths func(context.Context, *v1beta1.InfraEnv, *OS) (kernel, initrd string, err error)
}

// scripts is the format of iPXE; again is where a machine asks once more.
func scripts(again string) format {
	return format{
		discover: func(d ipxe.Discovery) (string, error) { d.Retry = again; return d.Script() },
		local:    func() (string, error) { return ipxe.LocalDisk(), nil },
		wait:     func(message string) (string, error) { return ipxe.Wait(message, comeBack, again) },
	}
}

// answer is a boot configuration and what it does.
type answer struct {
	script, what string
	waits        bool
}

func (f format) waits(message, what string) (answer, error) {
	script, err := f.wait(message)
	return answer{script: script, what: what, waits: true}, err
}

// answer decides, and lets a machine wait where that fails.
func (s *Service) answer(ctx context.Context, asking machine, base string, as format, more ...any) (string, error) {
	given, err := s.decide(ctx, asking, base, as)
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelError
		if given, err = as.waits("Slipway cannot say what to boot, its log says why", err.Error()); err != nil {
			return "", err
		}
	}
	if s.asked.news(asking, given) {
		s.config.Log.Log(ctx, level, "boot script",
			append([]any{"mac", asking.mac.String(), "uuid", asking.uuid, "boots", given.what}, more...)...)
	}
	return given.script, nil
}

// decide renders what a machine boots.
func (s *Service) decide(ctx context.Context, asking machine, base string, as format) (answer, error) {
	decision, err := s.config.InfraEnvs.BootDecision(ctx, asking.mac, asking.uuid, asking.architecture)
	switch {
	case missing(err):
		return as.waits(noInfraEnv, "waits for an InfraEnv")
	case err != nil:
		return answer{}, fmt.Errorf("decide: %w", err)
	case decision.Local:
		script, err := as.local()
		return answer{script: script, what: "local disk"}, err
	case decision.InfraEnv == nil && decision.Wait == "":
		return as.waits(noInfraEnv, "waits for an InfraEnv")
	case decision.InfraEnv == nil:
		return as.waits(decision.Wait, "waits: "+decision.Wait)
	}
	script, err := s.discovery(ctx, decision.InfraEnv, asking.architecture, base, as)
	if errors.Is(err, errInfraEnv) {
		return as.waits(err.Error(), "waits: "+err.Error())
	}
	return answer{script: script, what: "InfraEnv " + decision.InfraEnv.Namespace + "/" + decision.InfraEnv.Name}, err
}

// errInfraEnv is a mistake in an InfraEnv that keeps its machines from booting; they show it.
var errInfraEnv = errors.New("this machine cannot boot")

// discovery renders the boot of an InfraEnv's live OS.
func (s *Service) discovery(ctx context.Context, infraEnv *v1beta1.InfraEnv, architecture, base string, as format) (string, error) {
	image, ok := s.OS(infraEnv.Spec.OSImageVersion, architecture)
	if !ok {
		return "", fmt.Errorf("%w: there is no OS image %s for %s", errInfraEnv, infraEnv.Spec.OSImageVersion, architecture)
	}
	if wants, err := parseArchitecture(infraEnv.Spec.CpuArchitecture); err != nil || wants != architecture {
		return "", fmt.Errorf("%w: InfraEnv %s/%s is for %s and this machine is %s", errInfraEnv, infraEnv.Namespace, infraEnv.Name,
			infraEnv.Spec.CpuArchitecture, architecture)
	}
	which := url.Values{"arch": {architecture}, "version": {image.Version}}
	public := which.Encode()
	which.Set("api_key", s.config.Tokens.InfraEnv(string(infraEnv.UID)))
	d := ipxe.Discovery{
		Kernel:  base + "/boot-artifacts/kernel?" + public,
		Initrd:  base + "/images/" + string(infraEnv.UID) + "/pxe-initrd?" + which.Encode(),
		Console: consoles(architecture),
	}
	if err := setArguments(&d, infraEnv, architecture); err != nil {
		return "", fmt.Errorf("%w: %w", errInfraEnv, err)
	}
	if image.Rootfs != nil {
		d.Rootfs = base + "/boot-artifacts/rootfs?" + public
	}
	if as.paths != nil {
		var err error
		if d.Kernel, d.Initrd, err = as.paths(ctx, infraEnv, image); err != nil {
			return "", err
		}
	}
	return as.discover(d)
}

// consoles are those that an architecture's firmware and hypervisors show; nil leaves the choice to ipxe's default.
func consoles(architecture string) []string {
	switch architecture {
	case architectureZ:
		return []string{"ttysclp0"}
	case "ppc64le":
		return []string{"hvc0"}
	case "aarch64":
		return []string{} // the kernel finds it by SPCR or the device tree
	}
	return nil
}

// setArguments makes the InfraEnv's kernel arguments those of a network boot.
func setArguments(d *ipxe.Discovery, infraEnv *v1beta1.InfraEnv, architecture string) error {
	appended := !slices.ContainsFunc(infraEnv.Spec.KernelArguments, func(a v1beta1.KernelArgument) bool { return a.Operation != "append" })
	if appended || architecture == architectureZ { // whose parm files take no other
		var err error
		d.Args, err = kernelArguments(infraEnv)
		return err
	}
	if _, err := changeArguments(nil, infraEnv.Spec.KernelArguments); err != nil {
		return fmt.Errorf("InfraEnv %s/%s: %w", infraEnv.Namespace, infraEnv.Name, err)
	}
	d.Change = func(args []string) ([]string, error) { return changeArguments(args, infraEnv.Spec.KernelArguments) }
	return nil
}

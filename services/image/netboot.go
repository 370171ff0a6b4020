package image

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"

	"github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/ipxe"
	"github.com/slipway-io/slipway/services/image/iso"
)

// Names of what firmware and loaders other than iPXE read, over TFTP and HTTP alike. A name is all that a TFTP server is
// told, so it also says at which address the appliance was reached:
//
//	grub/grub.cfg                                       GRUB asks for its own below
//	boot/at/ADDRESS/CPU/grub.cfg-01-MAC                 CPU as GRUB names it
//	boot/at/ADDRESS/CPU/pxelinux.cfg/01-MAC             petitboot, PXELINUX; CPU is slof for SLOF; without boot/at/… for Power
//	boot/at/ADDRESS/s390x/01-MAC.ins                    the firmware of IBM Z
//	boot/at/ADDRESS/images/UID/SUM/CPU/VERSION/FILE     initrd.img, initrd.addrsize, generic.prm of an InfraEnv
//	boot/at/ADDRESS/z/UID/HOST.prm, HOST.ins            what `slipway image parm` noted for a host of IBM Z
//	boot/os/CPU/VERSION/kernel, …/rootfs, …/kernel.slof
//	boot/z/VERSION                                      that rootfs of IBM Z, by a name that fits on a card
//
// SUM identifies the configuration that the initrd carries: it keeps two generations apart in one boot, and nobody can
// guess it who was not given it.
const (
	bootPrefix = "boot/"
	atPrefix   = bootPrefix + "at/"
)

// sumLength of the digest in names, in hexadecimal digits.
const sumLength = 32

// Files answers TFTP reads with what is rendered; ctx ends with the appliance.
func (s *Service) Files(ctx context.Context) *Files { return &Files{ctx, s} }

// Files are the rendered boot files.
type Files struct {
	ctx     context.Context
	service *Service
}

// Open gives a file and its size, or an fs.ErrNotExist.
func (f *Files) Open(name string) (io.ReadCloser, int64, error) {
	opened, err := f.service.open(f.ctx, name)
	if err != nil {
		return nil, 0, err
	}
	return opened, opened.size(), nil
}

// bootFile answers the same over HTTP.
func (s *Service) bootFile(w http.ResponseWriter, r *http.Request) {
	f, err := s.open(r.Context(), strings.TrimPrefix(r.URL.Path, "/"))
	if errors.Is(err, fs.ErrNotExist) {
		problem(w, http.StatusNotFound, "there is no such boot file, or nothing to boot yet")
		return
	}
	if err != nil {
		s.broken(w, r, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	dropBadRange(r)
	http.ServeContent(w, r, "", f.modified, f.stream)
}

// open finds what a name means.
func (s *Service) open(ctx context.Context, name string) (*opened, error) {
	name = path.Clean(name)
	parts := strings.Split(name, "/")
	at := s.config.Addresses[0]
	if rest, ok := strings.CutPrefix(name, atPrefix); ok {
		address, rest, _ := strings.Cut(rest, "/")
		given, err := netip.ParseAddr(strings.Trim(address, "[]"))
		if err != nil {
			return nil, noFile(name)
		}
		at, parts = s.nearest(given.WithZone("")), strings.Split(rest, "/")
	} else if base := path.Base(name); base == "grub.cfg" || strings.HasPrefix(base, "grub.cfg-") {
		return text(ipxe.GRUBLoader("/" + strings.TrimSuffix(atPrefix, "/")))
	}
	switch {
	case len(parts) == 5 && parts[0]+"/" == bootPrefix && parts[1] == "os":
		return s.openOS(ctx, name, parts[2], parts[3], parts[4])
	case len(parts) == 3 && parts[0]+"/" == bootPrefix && parts[1] == "z":
		return s.openOS(ctx, name, architectureZ, parts[2], "rootfs")
	case len(parts) == 3 && parts[0] == "z":
		return s.openHost(ctx, name, at, parts[1], parts[2])
	case len(parts) == 6 && parts[0] == "images":
		return s.openImage(ctx, name, at, parts[1:])
	case len(parts) == 2 && parts[0] == "pxelinux.cfg":
		parts = append([]string{"ppc64le"}, parts...)
	}
	return s.openConfiguration(ctx, name, at, parts)
}

// openConfiguration renders the configuration of one machine.
func (s *Service) openConfiguration(ctx context.Context, name string, at netip.Addr, parts []string) (*opened, error) {
	architecture, err := parseArchitecture(loaderCPU(parts[0]))
	file := strings.Join(parts[1:], "/")
	if err != nil || parts[0] == "" {
		return nil, noFile(name)
	}
	var as format
	var mac string
	for prefix, candidate := range map[string]format{
		"grub.cfg-01-": s.grub(at), "pxelinux.cfg/01-": s.pxelinux(at, name, parts[0]), "01-": s.ins(at, name),
	} {
		if rest, ok := strings.CutPrefix(file, prefix); ok {
			as, mac = candidate, rest
		}
	}
	if strings.HasPrefix(file, "01-") {
		var ok bool
		if mac, ok = strings.CutSuffix(mac, ".ins"); !ok || architecture != architectureZ {
			return nil, noFile(name)
		}
	}
	hardware, err := net.ParseMAC(mac)
	if as.discover == nil || err != nil || len(hardware) != 6 {
		return nil, noFile(name)
	}
	return text(s.answer(ctx, machine{mac: hardware, architecture: architecture}, s.baseAt(at), as, "file", path.Base(name)))
}

// loaderCPU takes GRUB's name of a processor.
func loaderCPU(name string) string {
	if name == "powerpc" || name == slof {
		return "ppc64le"
	}
	return name
}

func (s *Service) grub(at netip.Addr) format {
	return format{
		discover: ipxe.Discovery.GRUB,
		local:    func() (string, error) { return ipxe.GRUBLocalDisk(), nil },
		wait:     func(message string) (string, error) { return ipxe.GRUBWait(message, comeBack), nil },
		paths:    s.paths(at),
	}
}

func (s *Service) pxelinux(at netip.Addr, name, cpu string) format {
	return format{
		discover: func(d ipxe.Discovery) (string, error) {
			if cpu == slof {
				d.Kernel = path.Join(path.Dir(d.Kernel), slofKernel)
			}
			return d.PXELINUX()
		},
		local: func() (string, error) { return ipxe.PXELINUXLocalDisk(), nil },
		wait:  func(message string) (string, error) { return ipxe.PXELINUXWait(message, comeBack, "/"+name) },
		paths: s.paths(at),
	}
}

// ins is the format of the firmware of IBM Z. It can neither wait nor start a disk: without a file it ends, and whoever
// started it starts it again.
func (s *Service) ins(at netip.Addr, name string) format {
	none := func() (string, error) { return "", noFile(name) }
	return format{
		discover: func(d ipxe.Discovery) (string, error) {
			kernel, initrd := strings.TrimPrefix(d.Kernel, "/"), strings.TrimPrefix(d.Initrd, "/")
			dir := path.Dir(initrd)
			return ipxe.Ins{Kernel: kernel, Initrd: initrd, Parm: dir + "/generic.prm", AddrSize: dir + "/initrd.addrsize"}.File()
		},
		local: none,
		wait:  func(string) (string, error) { return none() },
		paths: s.paths(at),
	}
}

// paths are the names of an InfraEnv's kernel and initrd.
func (s *Service) paths(at netip.Addr) func(context.Context, *v1beta1.InfraEnv, *OS) (kernel, initrd string, err error) {
	return func(ctx context.Context, infraEnv *v1beta1.InfraEnv, image *OS) (string, string, error) {
		over, err := s.overlays.of(ctx, infraEnv, at)
		if err != nil {
			return "", "", err
		}
		which := image.CPUArchitecture + "/" + image.Version
		return "/" + bootPrefix + "os/" + which + "/kernel",
			"/" + atPrefix + at.String() + "/images/" + string(infraEnv.UID) + "/" + over.sum[:sumLength] + "/" + which + "/initrd.img", nil
	}
}

func (s *Service) openOS(ctx context.Context, name, architecture, version, file string) (*opened, error) {
	image, ok := s.OS(version, architecture)
	if !ok || version == "" {
		return nil, noFile(name)
	}
	if file == slofKernel && architecture == "ppc64le" {
		return openPowerKernel(ctx, image.Kernel)
	}
	artifact := map[string]*Artifact{"kernel": image.Kernel, "rootfs": image.Rootfs}[file]
	if artifact == nil {
		return nil, noFile(name)
	}
	return overArtifact(ctx, artifact, iso.Join(artifact.span()))
}

// openImage opens what belongs to an InfraEnv, if the name is that of its current configuration.
func (s *Service) openImage(ctx context.Context, name string, at netip.Addr, parts []string) (*opened, error) {
	uid, sum, architecture, version, file := parts[0], parts[1], parts[2], parts[3], parts[4]
	image, ok := s.OS(version, architecture)
	if _, err := parseID(uid); !ok || version == "" || err != nil {
		return nil, noFile(name)
	}
	infraEnv, err := s.config.InfraEnvs.ByUID(ctx, uid)
	if missing(err) {
		return nil, noFile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("find InfraEnv %s: %w", uid, err)
	}
	over, err := s.overlays.of(ctx, infraEnv, at)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(sum), []byte(over.sum[:sumLength])) != 1 {
		return nil, noFile(name)
	}
	switch {
	case file == "initrd.img":
		return overArtifact(ctx, image.Initrd, customised(image.Initrd, over))
	case file == "initrd.addrsize" && architecture == architectureZ:
		return inMemory(ipxe.AddrSize(customised(image.Initrd, over).Size())), nil
	case file == "generic.prm" && architecture == architectureZ:
		as := s.grub(at)
		as.discover = genericParm
		return text(s.discovery(ctx, infraEnv, architecture, s.baseAt(at), as))
	}
	return nil, noFile(name)
}

// genericParm is the command line of a guest of KVM, which has no devices to name.
func genericParm(d ipxe.Discovery) (string, error) {
	return ipxe.Parm{Kind: ipxe.KVM, Rootfs: d.Rootfs, Args: d.Args}.Render()
}

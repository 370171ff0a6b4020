package iso

import (
	"strings"
)

const (
	// Where CoreOS ISOs have what a network boot takes.
	KernelFile = "images/pxeboot/vmlinuz"
	InitrdFile = "images/pxeboot/initrd.img"
	RootfsFile = "images/pxeboot/rootfs.img"
	// kernelZ is the kernel of IBM Z, where vmlinuz is no name that firmware takes.
	kernelZ = "images/pxeboot/kernel.img"
)

// systems that follow the CoreOS contract, by how their volume ids begin.
const systems = "rhcos-, fedora-coreos-, scos-, slipway-"

// Live is where the parts of the live system lie in the ISO.
type Live struct{ Kernel, Initrd, Rootfs Area }

// Live finds what is needed to boot hosts of an architecture from this ISO, or says what is missing.
func (i *Image) Live(architecture string) (Live, error) {
	known := false
	for prefix := range strings.SplitSeq(systems, ", ") {
		known = known || strings.HasPrefix(i.VolumeID, prefix)
	}
	if !known {
		return Live{}, fault("volume id %q begins with none of %s", i.VolumeID, systems)
	}
	if i.Kargs == nil && architecture != "s390x" {
		return Live{}, fault("no areas for kernel arguments: coreos/kargs.json is not among %d files, and the %d bytes at byte %d are no %q header",
			len(i.Files), kargsHeaderLength, kargsHeader, kargsMagic)
	}
	kernel := KernelFile
	if _, ok := i.Files[kernelZ]; ok && architecture == "s390x" {
		kernel = kernelZ
	}
	var live Live
	for _, part := range []struct {
		path string
		to   *Area
	}{{kernel, &live.Kernel}, {InitrdFile, &live.Initrd}, {RootfsFile, &live.Rootfs}} {
		area, ok := i.Files[part.path]
		if !ok || area.Length == 0 {
			return Live{}, fault("%s is missing or empty among %d files", part.path, len(i.Files))
		}
		*part.to = area
	}
	return live, nil
}

// SystemVersion is what the volume id says after the system's name.
func (i *Image) SystemVersion() string {
	for prefix := range strings.SplitSeq(systems, ", ") {
		if version, ok := strings.CutPrefix(i.VolumeID, prefix); ok {
			return version
		}
	}
	return i.VolumeID
}

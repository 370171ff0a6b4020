package image

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/slipway-io/slipway/services/image/iso"
)

// live is the parsed ISO of a machine OS.
type live struct {
	image *iso.Image
	// What makes the minimal ISO of the full one; minimalErr says why there is none.
	cut        iso.Area
	patches    []iso.Patch
	minimalErr error
}

// openISO parses the live ISO once. Kernel, initramfs and root file system are those in it.
func (o *OS) openISO(described file) error {
	artifact, err := openArtifact(o.root, described)
	if err != nil {
		return err
	}
	f, err := artifact.openSame()
	if err != nil {
		return err
	}
	image, err := iso.Parse(f, artifact.Size)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	places, err := image.Live(o.CPUArchitecture)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	o.live = &live{image: image}
	if o.CPUArchitecture == "s390x" {
		o.live.minimalErr = fmt.Errorf("OS image %s: there is no minimal ISO for s390x", o.Version)
	} else {
		o.live.cut, o.live.patches, o.live.minimalErr = image.Minimal(f)
	}
	o.ISO, o.Kernel, o.Initrd, o.Rootfs = artifact, artifact.part(places.Kernel), artifact.part(places.Initrd), artifact.part(places.Rootfs)
	return f.Close()
}

// The two kinds of ISO, as spec.imageType and the query type have them.
const (
	fullISO    = "full-iso"
	minimalISO = "minimal-iso"
)

// discoveryISO is what an ISO of an InfraEnv is made of.
type discoveryISO struct {
	kind      string
	archives  [][]byte // for the embed area
	arguments []string
}

// render lays the InfraEnv over the ISO: nothing of the base is read.
func (l *live) render(of discoveryISO) (*iso.View, error) {
	area, err := embedded(of.archives)
	if err != nil {
		return nil, err
	}
	ignition, err := l.image.Embed(area)
	if err != nil {
		return nil, err
	}
	patches := []iso.Patch{ignition}
	if l.image.Kargs != nil {
		changes, err := l.image.Kargs.Change(joined(of.arguments))
		if err != nil {
			return nil, err
		}
		patches = append(patches, changes...)
	}
	if of.kind == fullISO {
		return iso.Overlay(l.image.Size, iso.Area{}, patches...)
	}
	if l.minimalErr != nil {
		return nil, l.minimalErr
	}
	return iso.Overlay(l.image.Size, l.cut, append(patches, l.patches...)...)
}

// embedded are the archives one after the other, each compressed as CoreOS's readers know it and at a multiple of four.
func embedded(archives [][]byte) ([]byte, error) {
	var area bytes.Buffer
	for _, archive := range archives {
		if len(archive) == 0 {
			continue
		}
		packer, err := gzip.NewWriterLevel(&area, gzip.BestCompression)
		if err != nil {
			return nil, fmt.Errorf("compress archive: %w", err)
		}
		_, err = packer.Write(archive)
		if err := errors.Join(err, packer.Close()); err != nil {
			return nil, fmt.Errorf("compress archive: %w", err)
		}
		area.Write(make([]byte, padding(int64(area.Len()))))
	}
	return area.Bytes(), nil
}

// tag is strong: it covers all bytes that are not the base's.
func (of discoveryISO) tag(base *Artifact) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s %q", base.identity(), of.kind, of.arguments)
	for _, archive := range of.archives {
		fmt.Fprintf(sum, " %d ", len(archive))
		sum.Write(archive)
	}
	return `"` + hex.EncodeToString(sum.Sum(nil)[:16]) + `"`
}

package image

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"

	"github.com/slipway-io/slipway/services/image/iso"
)

// artifact answers /boot-artifacts/{kernel,rootfs,disk,agent}: content without secrets, for everybody.
func (s *Service) artifact(w http.ResponseWriter, r *http.Request) {
	image, version, err := s.wanted(r)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	var found *Artifact
	kind := "application/octet-stream"
	switch name := r.PathValue("name"); name {
	case "kernel":
		found = image.Kernel
	case "rootfs":
		found = image.Rootfs
	case "disk":
		found, kind = image.Disk.Artifact, "application/zstd"
	case "agent":
		if agent, ok := s.config.Agents[image.CPUArchitecture]; ok {
			found = agent.Artifact
		}
	case "ins-file":
		s.insFile(w, r, image, version)
		return
	default:
		problem(w, http.StatusNotFound, "there is no such boot artifact: kernel, rootfs, disk, agent, ins-file are")
		return
	}
	if found == nil {
		problem(w, http.StatusNotFound, fmt.Sprintf("there is no OS image %s for %s", version, image.CPUArchitecture))
		return
	}
	s.serve(w, r, content{view: iso.Join(found.span()), base: found, kind: kind, tag: `"` + found.identity() + `"`, modified: found.modified()})
}

// wanted gives the OS image that a path or a query asks for; one without files when there is none.
func (s *Service) wanted(r *http.Request) (*OS, string, error) {
	query := r.URL.Query()
	architecture, archErr := parseArchitecture(cmp.Or(r.PathValue("arch"), query.Get("arch")))
	version, versionErr := parseVersion(cmp.Or(r.PathValue("version"), query.Get("version")))
	if err := errors.Join(archErr, versionErr); err != nil {
		return nil, "", err
	}
	if image, ok := s.OS(version, architecture); ok {
		return image, version, nil
	}
	return &OS{CPUArchitecture: architecture}, version, nil
}

// initrd answers /images/{id}/pxe-initrd: the base, padded, the archive with config.ign, and the one with static networking.
func (s *Service) initrd(w http.ResponseWriter, r *http.Request) {
	infraEnv, ok := s.authorized(w, r)
	if !ok {
		return
	}
	image, version, err := s.wanted(r)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	if image.Initrd == nil {
		problem(w, http.StatusNotFound, fmt.Sprintf("there is no OS image %s for %s", version, image.CPUArchitecture))
		return
	}
	over, err := s.overlays.of(r.Context(), infraEnv, s.Reached(r.Context()))
	if err != nil {
		s.broken(w, r, err)
		return
	}
	s.serve(w, r, content{
		view: customised(image.Initrd, over), base: image.Initrd, kind: "application/octet-stream",
		tag: over.etag(image.Initrd), modified: over.rendered, private: true,
	})
}

// customised is the initrd of an InfraEnv. Each archive starts at a multiple of four, or the kernel does not see it.
func customised(base *Artifact, over *overlay) *iso.View {
	data := func(content []byte) iso.Span { return iso.Span{Data: content, Length: int64(len(content))} }
	return iso.Join(base.span(), iso.Span{Length: padding(base.Size)}, data(over.archive), data(over.network))
}

package image

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/openshift/assisted-service/api/v1beta1"
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
	default:
		problem(w, http.StatusNotFound, "there is no such boot artifact: kernel, rootfs, disk, agent are")
		return
	}
	if found == nil {
		problem(w, http.StatusNotFound, fmt.Sprintf("there is no OS image %s for %s", version, image.CPUArchitecture))
		return
	}
	s.serve(w, r, found, kind)
}

// wanted gives the OS image that a query asks for; one without files when there is none.
func (s *Service) wanted(r *http.Request) (*OS, string, error) {
	query := r.URL.Query()
	architecture, archErr := parseArchitecture(query.Get("arch"))
	version, versionErr := parseVersion(query.Get("version"))
	if err := errors.Join(archErr, versionErr); err != nil {
		return nil, "", err
	}
	if image, ok := s.OS(version, architecture); ok {
		return image, version, nil
	}
	return &OS{CPUArchitecture: architecture}, version, nil
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request, artifact *Artifact, kind string) {
	f, err := artifact.open(r.Context())
	if err != nil {
		s.broken(w, r, fmt.Errorf("serve %s: %w", artifact.Name, err))
		return
	}
	defer s.close(f)
	header := w.Header()
	header.Set("Content-Type", kind)
	header.Set("ETag", `"`+artifact.SHA256+`"`)
	// The address says version and name, not the content: it has to be asked for again.
	header.Set("Cache-Control", "no-cache")
	dropBadRange(r)
	http.ServeContent(w, r, "", time.Unix(0, artifact.stamp.ModTime), f)
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
	s.stream(w, r, infraEnv, image.Initrd)
}

func (s *Service) stream(w http.ResponseWriter, r *http.Request, infraEnv *v1beta1.InfraEnv, base *Artifact) {
	over, err := s.overlays.of(r.Context(), infraEnv, s.Reached(r.Context()))
	if err != nil {
		s.broken(w, r, err)
		return
	}
	f, err := base.open(r.Context())
	if err != nil {
		s.broken(w, r, fmt.Errorf("serve %s: %w", base.Name, err))
		return
	}
	defer s.close(f)
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("ETag", over.etag(base))
	header.Set("Cache-Control", "no-cache, private")
	dropBadRange(r)
	http.ServeContent(w, r, "", over.rendered, customised(f, base.Size, over))
}

// customised is the initrd of an InfraEnv. Each archive starts at a multiple of four, or the kernel does not see it.
func customised(base *os.File, size int64, over *overlay) *segments {
	pad := padding(size)
	return concatenate(
		segment{base, size},
		segment{bytes.NewReader(make([]byte, pad)), pad},
		// An archive's length is a multiple of four.
		segment{bytes.NewReader(over.archive), int64(len(over.archive))},
		segment{bytes.NewReader(over.network), int64(len(over.network))},
	)
}

func (s *Service) close(f *os.File) {
	if err := f.Close(); err != nil {
		s.config.Log.Warn("close artifact", "file", f.Name(), "err", err)
	}
}

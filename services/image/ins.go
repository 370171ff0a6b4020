package image

import (
	"fmt"
	"net/http"

	"github.com/slipway-io/slipway/ipxe"
)

// architectureZ is the one whose firmware loads .ins files.
const architectureZ = "s390x"

// insFile answers /boot-artifacts/ins-file: the names that the files of IBM Z are downloaded under, for a load from an FTP
// server.
func (s *Service) insFile(w http.ResponseWriter, r *http.Request, image *OS, version string) {
	if image.CPUArchitecture != architectureZ {
		problem(w, http.StatusNotFound, "a .ins file is for s390x, not for "+image.CPUArchitecture)
		return
	}
	if image.Kernel == nil {
		problem(w, http.StatusNotFound, fmt.Sprintf("there is no OS image %s for s390x", version))
		return
	}
	file, err := ipxe.Ins{Kernel: "kernel.img", Initrd: "initrd.img", Parm: "generic.prm", AddrSize: "initrd.img.addrsize"}.File()
	if err != nil {
		s.broken(w, r, err)
		return
	}
	attach(w, r, "generic.ins", "text/plain; charset=utf-8", []byte(file))
}

// addrSize answers /images/{id}/s390x-initrd-addrsize: where the InfraEnv's initrd is loaded and how long it is.
func (s *Service) addrSize(w http.ResponseWriter, r *http.Request) {
	infraEnv, ok := s.authorized(w, r)
	if !ok {
		return
	}
	version, err := parseVersion(r.URL.Query().Get("version"))
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	image, ok := s.OS(version, architectureZ)
	if !ok {
		problem(w, http.StatusNotFound, fmt.Sprintf("there is no OS image %s for s390x", version))
		return
	}
	over, err := s.overlays.of(r.Context(), infraEnv, s.Reached(r.Context()))
	if err != nil {
		s.broken(w, r, err)
		return
	}
	attach(w, r, "initrd.img.addrsize", "application/octet-stream", ipxe.AddrSize(customised(image.Initrd, over).Size()))
}

package image

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/image/iso"
)

// isoMedia is what the assisted image service says; UEFI goes by the name's end.
const isoMedia = "application/x-cd-image"

// isoByQuery answers /images/{id}?version=&type=&arch=&api_key=.
func (s *Service) isoByQuery(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	kind := query.Get("type")
	if kind != fullISO && kind != minimalISO {
		problem(w, http.StatusBadRequest, fmt.Sprintf("type %q is none of %s, %s", kind, fullISO, minimalISO))
		return
	}
	infraEnv, ok := s.authorized(w, r)
	if !ok {
		return
	}
	s.iso(w, r, infraEnv, kind)
}

// isoByPath answers /byapikey/{api_key}/{version}/{arch}/{file}, /bytoken/{token}/… and /byid/{id}/…; file is full.iso or
// minimal.iso. What stands for the key is the InfraEnv's id and its token, with a dot between.
func (s *Service) isoByPath(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutSuffix(r.PathValue("file"), ".iso")
	kind := name + "-iso"
	if !ok || kind != fullISO && kind != minimalISO {
		problem(w, http.StatusNotFound, "there is no such file: full.iso and minimal.iso are")
		return
	}
	if key := r.PathValue("api_key") + r.PathValue("token"); key != "" {
		id, token, _ := strings.Cut(key, ".")
		r.SetPathValue("id", id)
		r.Header.Set("X-Secret-Key", token)
	}
	infraEnv, ok := s.authorized(w, r)
	if !ok {
		return
	}
	s.iso(w, r, infraEnv, kind)
}

// iso streams the customised ISO.
func (s *Service) iso(w http.ResponseWriter, r *http.Request, infraEnv *v1beta1.InfraEnv, kind string) {
	image, version, err := s.wanted(r)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	if image.ISO == nil {
		problem(w, http.StatusNotFound, fmt.Sprintf("there is no live ISO of OS image %s for %s", version, image.CPUArchitecture))
		return
	}
	over, err := s.overlays.of(r.Context(), infraEnv, s.Reached(r.Context()))
	if err != nil {
		s.broken(w, r, err)
		return
	}
	made, err := over.iso(isoKey{image, kind}, func() (*discovery, error) {
		return s.renderISO(image, kind, s.base(r.Context()), infraEnv, over)
	})
	if err != nil {
		s.refused(w, infraEnv, err)
		return
	}
	w.Header().Set("Content-Disposition", `attachment; filename="`+over.uid+`-discovery.iso"`)
	s.serve(w, r, content{view: made.view, base: image.ISO, kind: isoMedia, tag: made.tag, modified: over.rendered, private: true})
}

// refused tells the asker what keeps an InfraEnv from having an image.
func (s *Service) refused(w http.ResponseWriter, infraEnv *v1beta1.InfraEnv, err error) {
	s.config.Log.Warn("no image for InfraEnv", "infraEnv", infraEnv.Namespace+"/"+infraEnv.Name, "err", err)
	problem(w, http.StatusConflict, err.Error())
}

func (s *Service) renderISO(image *OS, kind, base string, infraEnv *v1beta1.InfraEnv, over *overlay) (*discovery, error) {
	defaults := ""
	if kargs := image.live.image.Kargs; kargs != nil {
		defaults = kargs.Default
	} else if len(infraEnv.Spec.KernelArguments) > 0 {
		return nil, fmt.Errorf("InfraEnv %s/%s: kernelArguments: the ISO of OS image %s has no areas for them",
			infraEnv.Namespace, infraEnv.Name, image.Version)
	}
	arguments, err := isoArguments(defaults, kind, rootfsURL(base, image), infraEnv.Spec.KernelArguments)
	if err != nil {
		return nil, fmt.Errorf("InfraEnv %s/%s: %w", infraEnv.Namespace, infraEnv.Name, err)
	}
	of := discoveryISO{kind: kind, archives: [][]byte{over.archive, over.network}, arguments: arguments}
	view, err := image.live.render(of)
	if err != nil {
		return nil, fmt.Errorf("InfraEnv %s/%s: %w", infraEnv.Namespace, infraEnv.Name, err)
	}
	return &discovery{view, of.tag(image.ISO)}, nil
}

// rootfsURL has no character that boot configurations take for something else.
func rootfsURL(base string, image *OS) string {
	return base + "/boot-artifacts/" + image.Version + "/" + image.CPUArchitecture + "/rootfs"
}

// discovery is a rendered ISO.
type discovery struct {
	view *iso.View
	tag  string
}

type isoKey struct {
	image *OS
	kind  string
}

// iso renders each ISO of the overlay once.
func (o *overlay) iso(key isoKey, render func() (*discovery, error)) (*discovery, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if made, ok := o.isos[key]; ok {
		return made, nil
	}
	made, err := render()
	if err != nil {
		return nil, err
	}
	if o.isos == nil {
		o.isos = map[isoKey]*discovery{}
	}
	o.isos[key] = made
	return made, nil
}

// CheckISO says what keeps an InfraEnv from having the ISO of a machine OS, as its controller tells it: too much of something, or
// what the ISO cannot hold. Kind is full-iso or minimal-iso.
func (s *Service) CheckISO(ctx context.Context, infraEnv *v1beta1.InfraEnv, version, architecture, kind string) error {
	image, ok := s.OS(version, architecture)
	if !ok || image.ISO == nil {
		return fmt.Errorf("there is no live ISO of OS image %s for %s", version, architecture)
	}
	over, err := s.overlays.of(ctx, infraEnv, s.config.Addresses[0])
	if err != nil {
		return err
	}
	_, err = s.renderISO(image, kind, s.base(ctx), infraEnv, over)
	return err
}

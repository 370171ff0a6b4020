package infraenv

import (
	"context"
	"fmt"
	"net/url"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"

	"github.com/slipway-io/slipway/services/api"
)

// imageWait is how long it takes to look again for a machine OS that is not there: it may be on its way.
const imageWait = 15 * time.Second

// imageError is that the machine OS is missing, or cannot take what the InfraEnv wants.
type imageError struct{ error }

// image is what an InfraEnv's hosts boot.
type image struct {
	version string
	// iso is its URL, empty when the machine OS has none.
	iso string
}

// image finds the machine OS and checks that its ISO can hold the InfraEnv.
func (r *Reconciler) image(ctx context.Context, infraEnv *agentv1beta1.InfraEnv) (image, error) {
	arch := architecture(infraEnv)
	version, err := r.Images.Version(arch, infraEnv.Spec.OSImageVersion)
	if err != nil {
		return image{}, imageError{err}
	}
	kind, err := isoType(infraEnv)
	if err != nil {
		return image{}, err
	}
	found, err := r.Images.ISO(ctx, infraEnv, arch, version, kind)
	if err != nil {
		return image{}, imageError{err}
	}
	if !found {
		return image{version: version}, nil
	}
	return image{version, r.isoURL(infraEnv, arch, version, kind)}, nil
}

// isoType is the minimal ISO, which BMCs read sooner, unless the InfraEnv wants the other or the architecture has no minimal one.
func isoType(infraEnv *agentv1beta1.InfraEnv) (string, error) {
	const full, minimal = string(models.ImageTypeFullIso), string(models.ImageTypeMinimalIso)
	switch kind := infraEnv.Annotations[api.ImageTypeAnnotation]; kind {
	case "":
		if architecture(infraEnv) == "s390x" {
			return full, nil
		}
		return minimal, nil
	case full, minimal:
		return kind, nil
	default:
		return "", fmt.Errorf("annotation %s: %q is none of %s, %s", api.ImageTypeAnnotation, kind, full, minimal)
	}
}

// isoURL is plain HTTP, as BMCs know no CA, and ends in .iso, which some of them and UEFI look at.
func (r *Reconciler) isoURL(infraEnv *agentv1beta1.InfraEnv, arch, version, kind string) string {
	file := map[string]string{string(models.ImageTypeFullIso): "full.iso", string(models.ImageTypeMinimalIso): "minimal.iso"}[kind]
	uid := string(infraEnv.UID)
	return r.URLs.HTTP + "/byapikey/" + uid + "." + r.Tokens.InfraEnv(uid) + "/" + version + "/" + arch + "/" + file
}

// artifacts are plain HTTP: loaders know no CA, and the initrd carries what the rest is checked with.
func (r *Reconciler) artifacts(infraEnv *agentv1beta1.InfraEnv, version string) agentv1beta1.BootArtifacts {
	uid := string(infraEnv.UID)
	token := r.Tokens.InfraEnv(uid)
	image := url.Values{"arch": {architecture(infraEnv)}, "version": {version}}
	initrd := url.Values{"arch": image["arch"], "version": image["version"], "api_key": {token}}
	script := url.Values{"file_name": {"ipxe-script"}, "api_key": {token}}
	return agentv1beta1.BootArtifacts{
		KernelURL:     r.URLs.HTTP + "/boot-artifacts/kernel?" + image.Encode(),
		RootfsURL:     r.URLs.HTTP + "/boot-artifacts/rootfs?" + image.Encode(),
		InitrdURL:     r.URLs.HTTP + "/images/" + uid + "/pxe-initrd?" + initrd.Encode(),
		IpxeScriptURL: r.URLs.HTTP + "/api/assisted-install/v2/infra-envs/" + uid + "/downloads/files?" + script.Encode(),
	}
}

// architecture in the words of the machine OS.
func architecture(infraEnv *agentv1beta1.InfraEnv) string {
	switch arch := infraEnv.Spec.CpuArchitecture; arch {
	case "":
		return "x86_64"
	case "arm64":
		return "aarch64"
	default:
		return arch
	}
}

// Package resources renders what clusters and hosts need to find mirrored images: mirror sets, catalogs, signatures, and files of container runtimes.
package resources

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/slipway-io/slipway/mirror/durable"
	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
)

// Options of rendering.
type Options struct {
	// Host and Namespace of the target.
	Host, Namespace string
	// Repositories names each repository in the mirror sets; otherwise their namespaces are named where that says the same.
	Repositories bool
	// Apart puts each object into a file of its own.
	Apart bool
}

// Mapping is a repository or namespace and where it is mirrored.
type Mapping struct {
	Source, Mirror string
}

type object = map[string]any

// Render makes the files, by path, from the images of a plan that are at the target. The same images make the same files.
func Render(p *plan.Plan, there func(plan.Image) bool, o Options) (map[string][]byte, error) {
	r := &renderer{Options: o, files: map[string][]byte{}}
	var images []plan.Image
	for _, image := range p.Images {
		if image.Subject == "" && there(image) {
			images = append(images, image)
		}
	}
	byDigest, byTag := r.mappings(images)
	var idms, itms []object
	for _, group := range groups {
		if len(byDigest[group]) > 0 {
			idms = append(idms, mirrorSet("ImageDigestMirrorSet", "idms-"+group+"-0", "imageDigestMirrors", byDigest[group]))
		}
		if len(byTag[group]) > 0 {
			itms = append(itms, mirrorSet("ImageTagMirrorSet", "itms-"+group+"-0", "imageTagMirrors", byTag[group]))
		}
	}
	r.objects("idms-oc-mirror.yaml", idms)
	r.objects("itms-oc-mirror.yaml", itms)
	r.catalogs(images)
	r.updateService(images)
	r.signatures(p)
	r.runtimes(images, byDigest, byTag)
	return r.files, r.err
}

// groups of mirror sets, as oc-mirror names them.
var groups = []string{"generic", "operator", "release"}

func group(category plan.Category) string {
	switch category {
	case plan.Release:
		return "release"
	case plan.Operator:
		return "operator"
	}
	return "generic"
}

type renderer struct {
	Options
	files map[string][]byte
	err   error
}

// target of a repository, with host and namespace.
func (r *renderer) target(repository string) string {
	return path.Join(r.Host, r.Namespace, repository)
}

// mappings sorts images by how they are named: by digest, by tag, or both.
func (r *renderer) mappings(images []plan.Image) (byDigest, byTag map[string][]Mapping) {
	byDigest, byTag = map[string][]Mapping{}, map[string][]Mapping{}
	for _, image := range images {
		if image.Role == plan.Catalog || image.Role == plan.Graph || image.FromDirectory() {
			continue
		}
		origin, err := remote.ParseReference(image.Origin)
		if err != nil {
			r.err = errors.Join(r.err, fmt.Errorf("render mirror sets: %w", err))
			continue
		}
		m, g := r.scope(image), group(image.Category)
		if origin.Digest != "" || image.Role == plan.Payload {
			byDigest[g] = append(byDigest[g], m)
		}
		if origin.Tag != "" || image.Role == plan.Payload {
			byTag[g] = append(byTag[g], m)
		}
	}
	for _, set := range []map[string][]Mapping{byDigest, byTag} {
		for g := range set {
			set[g] = unique(set[g])
		}
	}
	return byDigest, byTag
}

// scope of a mapping: the namespace where repositories keep their names, else the repository.
func (r *renderer) scope(image plan.Image) Mapping {
	m := Mapping{Source: image.Source, Mirror: r.target(image.Repository)}
	_, sourcePath, _ := strings.Cut(image.Source, "/")
	if !r.Repositories && strings.Contains(sourcePath, "/") && (m.Mirror == sourcePath || strings.HasSuffix(m.Mirror, "/"+sourcePath)) {
		m.Source, m.Mirror = path.Dir(m.Source), path.Dir(m.Mirror)
	}
	return m
}

func unique(mappings []Mapping) []Mapping {
	slices.SortFunc(mappings, func(a, b Mapping) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Mirror, b.Mirror))
	})
	return slices.Compact(mappings)
}

func mirrorSet(kind, name, field string, mappings []Mapping) object {
	var list []object
	for source, mirrors := range bySource(mappings) {
		list = append(list, object{"source": source, "mirrors": mirrors})
	}
	slices.SortFunc(list, func(a, b object) int { return cmp.Compare(a["source"].(string), b["source"].(string)) })
	return object{"apiVersion": "config.openshift.io/v1", "kind": kind, "metadata": object{"name": name}, "spec": object{field: list}}
}

func bySource(mappings []Mapping) map[string][]string {
	found := map[string][]string{}
	for _, m := range mappings {
		found[m.Source] = append(found[m.Source], m.Mirror)
	}
	return found
}

var notInName = regexp.MustCompile(`[^a-z0-9-]+`)

// catalogs makes a CatalogSource (OLM v0) and a ClusterCatalog (OLM v1) for each catalog.
func (r *renderer) catalogs(images []plan.Image) {
	for _, image := range images {
		if image.Role != plan.Catalog {
			continue
		}
		tag := strings.TrimPrefix(image.Tag, "sha256-")
		tag = notInName.ReplaceAllString(strings.ToLower(tag), "-")
		name := notInName.ReplaceAllString(path.Base(image.Repository), "-") + "-" + strings.Trim(tag[:min(len(tag), 12)], "-")
		ref := r.target(image.Repository) + ":" + image.Tag
		r.objects("cs-"+name+".yaml", []object{r.catalogSource(image, "cs-"+name, ref)})
		r.objects("cc-"+name+".yaml", []object{{"apiVersion": "olm.operatorframework.io/v1", "kind": "ClusterCatalog",
			"metadata": object{"name": "cc-" + name}, "spec": object{"source": object{"type": "Image", "image": object{"ref": ref}}}}})
	}
}

// catalogSource is made from the template where there is one; name, namespace, type and image are ours in any case.
func (r *renderer) catalogSource(image plan.Image, name, ref string) object {
	source := object{}
	if err := yaml.Unmarshal([]byte(image.Template), &source); err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("read CatalogSource template of %s: %w", image.Origin, err))
	}
	for key, fields := range map[string]object{"metadata": {"name": name, "namespace": "openshift-marketplace"}, "spec": {"sourceType": "grpc", "image": ref}} {
		part, ok := source[key].(object)
		if !ok {
			part = object{}
		}
		maps.Copy(part, fields)
		source[key] = part
	}
	source["apiVersion"], source["kind"] = "operators.coreos.com/v1alpha1", "CatalogSource"
	return source
}

// updateService names the releases' repository and the graph's data.
func (r *renderer) updateService(images []plan.Image) {
	releases, data := "", ""
	for _, image := range images {
		switch image.Role {
		case plan.Payload:
			releases = r.target(image.Repository)
		case plan.Graph:
			data = r.target(image.Repository) + ":" + image.Tag
		}
	}
	if releases == "" || data == "" {
		return
	}
	r.objects("updateService.yaml", []object{{"apiVersion": "updateservice.operator.openshift.io/v1", "kind": "UpdateService",
		"metadata": object{"name": "update-service-oc-mirror", "namespace": "openshift-update-service"},
		"spec":     object{"replicas": 2, "releases": releases, "graphDataImage": data}}})
}

// signatures makes the ConfigMap in which clusters look for signatures of releases.
func (r *renderer) signatures(p *plan.Plan) {
	data := object{}
	for digest, signatures := range p.Signatures {
		for n, raw := range signatures {
			data[fmt.Sprintf("%s-%d", strings.Replace(digest, ":", "-", 1), n+1)] = base64.StdEncoding.EncodeToString(raw)
		}
	}
	if len(data) == 0 {
		return
	}
	configMap := object{"apiVersion": "v1", "kind": "ConfigMap", "binaryData": data, "metadata": object{
		"name": "mirrored-release-signatures", "namespace": "openshift-config-managed",
		"labels": object{"release.openshift.io/verification-signatures": ""}}}
	r.objects("signature-configmap.yaml", []object{configMap})
	raw, err := json.MarshalIndent(configMap, "", "  ")
	r.err = errors.Join(r.err, err)
	r.files["signature-configmap.json"] = append(raw, '\n')
}

// objects writes YAML documents into one file, or each into one of its own.
func (r *renderer) objects(name string, all []object) {
	var documents [][]byte
	for _, o := range all {
		raw, err := yaml.Marshal(o)
		r.err = errors.Join(r.err, err)
		if r.Apart {
			metadata, _ := o["metadata"].(object)
			r.files[fmt.Sprintf("%s.yaml", metadata["name"])] = raw
			continue
		}
		documents = append(documents, raw)
	}
	if len(documents) > 0 {
		r.files[name] = bytes.Join(documents, []byte("---\n"))
	}
}

// Write replaces the files in a directory: those that did not change are left alone, those that are no longer made are taken away.
func Write(dir string, files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, files[name]) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return fmt.Errorf("write resources: %w", err)
		}
		if err := durable.Write(file, files[name], 0o644); err != nil {
			return err
		}
	}
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if _, kept := files[filepath.ToSlash(name)]; err != nil || kept {
			return err
		}
		return os.Remove(file)
	})
	if err != nil {
		return fmt.Errorf("remove resources that are no longer made: %w", err)
	}
	return nil
}

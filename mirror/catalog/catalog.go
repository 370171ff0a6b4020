// Package catalog filters file-based catalogs of operators (OLM) by package, channel and version, and names the images that the rest needs.
package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/yaml"
)

// Schemas of a file-based catalog.
const (
	schemaPackage      = "olm.package"
	schemaChannel      = "olm.channel"
	schemaBundle       = "olm.bundle"
	schemaDeprecations = "olm.deprecations"
)

const (
	maxObjects = 2_000_000
	maxObject  = 64 << 20
)

// ErrInvalid says that a catalog can't be read, or has not what is asked of it.
var ErrInvalid = errors.New("catalog")

// Object is one object of a catalog, as it was written.
type Object struct {
	Schema  string
	Package string // that it belongs to; of a package its own name
	Name    string
	Raw     json.RawMessage
}

// Read reads a file of a catalog: YAML documents, or JSON objects one after the other. Only objects of wanted packages are kept.
func Read(file string, content io.Reader, wanted func(pkg string) bool) ([]Object, error) {
	switch path.Ext(file) {
	case ".json", ".yaml", ".yml":
	default:
		return nil, nil // README, .indexignore and the like
	}
	var objects []Object
	decoder := yaml.NewYAMLOrJSONDecoder(content, 4096)
	for n := 0; ; n++ {
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: read %s: %w", ErrInvalid, file, err)
		}
		if n >= maxObjects || len(raw) > maxObject {
			return nil, fmt.Errorf("%w: read %s: too many or too large objects", ErrInvalid, file)
		}
		if len(raw) == 0 || string(raw) == "null" {
			continue
		}
		var head struct{ Schema, Package, Name string }
		if err := json.Unmarshal(raw, &head); err != nil || head.Schema == "" {
			return nil, fmt.Errorf("%w: read %s: an object without a schema", ErrInvalid, file)
		}
		o := Object{Schema: head.Schema, Package: head.Package, Name: head.Name, Raw: slices.Clone(raw)}
		if o.Schema == schemaPackage {
			o.Package = o.Name
		}
		if wanted(o.Package) {
			objects = append(objects, o)
		}
	}
}

// entry of a channel.
type entry struct {
	Name      string   `json:"name"`
	Replaces  string   `json:"replaces,omitempty"`
	Skips     []string `json:"skips,omitempty"`
	SkipRange string   `json:"skipRange,omitempty"`
}

// channel of a package.
type channel struct {
	name    string
	entries []entry
	raw     json.RawMessage
}

// bundle of a package.
type bundle struct {
	name    string
	version string
	images  []string
	raw     json.RawMessage
}

// operator is a package taken apart.
type operator struct {
	name           string
	defaultChannel string
	raw            json.RawMessage
	channels       []channel
	bundles        map[string]bundle
	others         []Object
}

// sort takes a catalog's objects apart by package.
func sortPackages(objects []Object) (map[string]*operator, error) {
	packages := map[string]*operator{}
	for _, o := range objects {
		p := packages[o.Package]
		if p == nil {
			p = &operator{name: o.Package, bundles: map[string]bundle{}}
			packages[o.Package] = p
		}
		if err := p.add(o); err != nil {
			return nil, fmt.Errorf("%w: %s %s of package %s: %w", ErrInvalid, o.Schema, o.Name, o.Package, err)
		}
	}
	return packages, nil
}

func (p *operator) add(o Object) error {
	switch o.Schema {
	case schemaPackage:
		var body struct {
			DefaultChannel string `json:"defaultChannel"`
		}
		err := json.Unmarshal(o.Raw, &body)
		p.raw, p.defaultChannel = o.Raw, body.DefaultChannel
		return err
	case schemaChannel:
		var body struct {
			Entries []entry `json:"entries"`
		}
		err := json.Unmarshal(o.Raw, &body)
		p.channels = append(p.channels, channel{name: o.Name, entries: body.Entries, raw: o.Raw})
		return err
	case schemaBundle:
		b, err := parseBundle(o)
		p.bundles[o.Name] = b
		return err
	}
	p.others = append(p.others, o)
	return nil
}

func parseBundle(o Object) (bundle, error) {
	var body struct {
		Image         string `json:"image"`
		RelatedImages []struct {
			Image string `json:"image"`
		} `json:"relatedImages"`
		Properties []struct {
			Type  string          `json:"type"`
			Value json.RawMessage `json:"value"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(o.Raw, &body); err != nil {
		return bundle{}, err
	}
	b := bundle{name: o.Name, raw: o.Raw}
	for _, image := range append([]string{body.Image}, related(body.RelatedImages)...) {
		if image != "" && !slices.Contains(b.images, image) {
			b.images = append(b.images, image)
		}
	}
	for _, property := range body.Properties {
		if property.Type != schemaPackage {
			continue
		}
		var value struct {
			Version string `json:"version"`
		}
		if err := json.Unmarshal(property.Value, &value); err != nil {
			return bundle{}, err
		}
		b.version = value.Version
	}
	return b, nil
}

func related(images []struct {
	Image string `json:"image"`
}) []string {
	var names []string
	for _, image := range images {
		names = append(names, image.Image)
	}
	return names
}

// set replaces fields of an object and leaves the rest as it was.
func set(raw json.RawMessage, fields map[string]any) (json.RawMessage, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	for key, value := range fields {
		encoded, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		object[key] = encoded
	}
	return json.Marshal(object)
}

// write appends an object to a file, indented for people.
func write(out *bytes.Buffer, raw json.RawMessage) error {
	if err := json.Indent(out, raw, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	return nil
}

// names joins names for an error's text.
func names[T any](all []T, name func(T) string) string {
	var list []string
	for _, one := range all {
		list = append(list, name(one))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

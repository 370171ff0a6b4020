package imageset

import (
	"errors"
	"fmt"
	"strings"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// maxSize of a file is far above what people write.
const maxSize = 1 << 20

// ErrInvalid says that an image set can't be used as it is; the text names the path in it.
var ErrInvalid = errors.New("invalid image set")

// Parse reads an image set and refuses what it does not know, what contradicts itself and what can't be honoured.
func Parse(raw []byte) (*Set, error) {
	if len(raw) > maxSize {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrInvalid, maxSize)
	}
	asJSON, err := yaml.YAMLToJSONStrict(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var doc document
	strict, err := kjson.UnmarshalStrict(asJSON, &doc)
	if err == nil {
		err = errors.Join(strict...)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	set, err := doc.set()
	if err != nil {
		return nil, err
	}
	problems := check(set)
	if len(problems) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, strings.Join(problems, "; "))
	}
	return set, nil
}

func (d document) set() (*Set, error) {
	if d.APIVersion != APIVersion {
		return nil, fmt.Errorf("%w: apiVersion is %q, want %s", ErrInvalid, d.APIVersion, APIVersion)
	}
	set := &Set{Delete: d.Kind == DeleteKind, ArchiveSize: d.ArchiveSize}
	wanted, other, key := d.Mirror, d.Delete, "mirror"
	switch d.Kind {
	case Kind:
	case DeleteKind:
		wanted, other, key = d.Delete, d.Mirror, "delete"
	default:
		return nil, fmt.Errorf("%w: kind is %q, want %s or %s", ErrInvalid, d.Kind, Kind, DeleteKind)
	}
	if wanted == nil || other != nil {
		return nil, fmt.Errorf("%w: %s has its content below %s: and nowhere else", ErrInvalid, d.Kind, key)
	}
	set.Content = *wanted
	return set, nil
}

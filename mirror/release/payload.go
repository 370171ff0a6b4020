package release

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
)

// Payload is what a release image says of itself, wherever it comes from.
type Payload struct {
	Version string
	// Components by name: images by digest.
	Components map[string]string
	// Files of release-manifests/ that were asked for in addition.
	Files map[string][]byte
}

// Walk calls entry for each entry of a layer, compressed or not, within the bounds that unpacking has.
func Walk(layer io.Reader, entry func(*tar.Header, io.Reader) error) error {
	return readTar(layer, limits{bytes: maxImageBytes, entries: maxImageEntries}, entry)
}

// ReadPayload reads a release image: its layers from the last one down, as far as it takes to find what makes it a release.
// open opens the layer with that index; its reader must judge the digest at its end. Files are named as in the image.
func ReadPayload(layers int, open func(int) (io.ReadCloser, error), files ...string) (*Payload, error) {
	found := map[string][]byte{}
	wanted := map[string]bool{referencesPath: true, metadataPath: true}
	for _, file := range files {
		wanted[file] = true
	}
	for n := layers - 1; n >= 0 && (found[referencesPath] == nil || found[metadataPath] == nil); n-- {
		layer, err := open(n)
		if err != nil {
			return nil, fmt.Errorf("read layer %d: %w", n, err)
		}
		err = readPayloadLayer(layer, wanted, found)
		if err := errors.Join(err, layer.Close()); err != nil {
			return nil, fmt.Errorf("read layer %d: %w", n, err)
		}
	}
	if found[referencesPath] == nil || found[metadataPath] == nil {
		return nil, fmt.Errorf("%w: it has no %s and %s", ErrInvalid, referencesPath, metadataPath)
	}
	payload := &Payload{Files: found}
	var err error
	if payload.Version, err = parseMetadata(found[metadataPath]); err != nil {
		return nil, err
	}
	payload.Components, err = parseReferences(found[referencesPath])
	return payload, err
}

// readPayloadLayer keeps the wanted files that no later layer has replaced.
func readPayloadLayer(layer io.Reader, wanted map[string]bool, found map[string][]byte) error {
	err := Walk(layer, func(header *tar.Header, content io.Reader) error {
		file := path.Clean(header.Name)
		if header.Typeflag != tar.TypeReg || !wanted[file] || found[file] != nil {
			return nil
		}
		raw, err := readBounded(content, file)
		found[file] = raw
		return err
	})
	// The verdict on the digest comes at the end.
	_, drained := io.Copy(io.Discard, layer)
	return errors.Join(err, drained)
}

package plan

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/slipway-io/slipway/mirror/durable"
	"github.com/slipway-io/slipway/mirror/remote"
)

const cacheDir = "tmp/cache"

// rebuild makes a catalog's image again: its layers as they are, and one more that replaces the configurations and empties opm's cache,
// which would not fit them.
func (b *builder) rebuild(ctx context.Context, it item, instances []instance, dir string, files map[string][]byte, p *prepared) error {
	plain, err := configLayer(dir, files)
	if err != nil {
		return fmt.Errorf("make catalog: %w", err)
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write(plain); err != nil {
		return fmt.Errorf("make catalog: %w", err)
	}
	if err := zip.Close(); err != nil {
		return fmt.Errorf("make catalog: %w", err)
	}
	layer, err := b.made(packed.Bytes(), p)
	if err != nil {
		return err
	}
	var entries []json.RawMessage
	for _, one := range instances {
		digest, entry, err := b.rebuildOne(ctx, it.ref.Repository, one, dir, layer, remote.Digest(plain), p)
		if err != nil {
			return fmt.Errorf("make catalog: %w", err)
		}
		p.Root = digest
		entries = append(entries, entry)
	}
	if instances[0].entry == nil {
		return nil
	}
	b.mu.Lock()
	index := b.plan.Manifests[it.ref.Digest]
	b.mu.Unlock()
	data, err := edit(index.Data, func(fields map[string]json.RawMessage) error {
		var err error
		fields["manifests"], err = json.Marshal(entries)
		return err
	})
	if err != nil {
		return fmt.Errorf("make catalog: %w", err)
	}
	p.Root = remote.Digest(data)
	p.Manifests[p.Root] = Manifest{MediaType: index.MediaType, Data: data}
	return nil
}

// made keeps a blob that was made here in the workspace.
func (b *builder) made(data []byte, p *prepared) (remote.Descriptor, error) {
	d := remote.Descriptor{Digest: remote.Digest(data), Size: int64(len(data))}
	p.Local = append(p.Local, d.Digest)
	return d, durable.Write(b.blobPath(d.Digest), data, 0o644)
}

// rebuildOne makes the image of one platform and returns its digest and its entry in the index.
func (b *builder) rebuildOne(ctx context.Context, repo remote.Repository, one instance, dir string, layer remote.Descriptor, diffID string, p *prepared) (string, json.RawMessage, error) {
	raw, err := b.small(ctx, repo, *one.content.Config)
	if err != nil {
		return "", nil, err
	}
	config, err := edit(raw, func(fields map[string]json.RawMessage) error { return editConfig(fields, dir, diffID) })
	if err != nil {
		return "", nil, err
	}
	made, err := b.made(config, p)
	if err != nil {
		return "", nil, err
	}
	layer.MediaType = "application/vnd.oci.image.layer.v1.tar+gzip"
	if one.media == remote.DockerManifest {
		layer.MediaType = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	}
	b.mu.Lock()
	old := b.plan.Manifests[one.digest]
	b.mu.Unlock()
	data, err := edit(old.Data, func(fields map[string]json.RawMessage) error {
		var layers []json.RawMessage
		if err := json.Unmarshal(fields["layers"], &layers); err != nil {
			return err
		}
		added, err := json.Marshal(layer)
		if err != nil {
			return err
		}
		if fields["layers"], err = json.Marshal(append(layers, added)); err != nil {
			return err
		}
		made.MediaType = one.content.Config.MediaType
		fields["config"], err = json.Marshal(made)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	digest := remote.Digest(data)
	p.Manifests[digest] = Manifest{MediaType: old.MediaType, Data: data}
	if one.entry == nil {
		return digest, nil, nil
	}
	entry, err := edit(one.entry, func(fields map[string]json.RawMessage) error {
		fields["digest"], fields["size"] = json.RawMessage(fmt.Sprintf("%q", digest)), json.RawMessage(fmt.Sprint(len(data)))
		return nil
	})
	return digest, entry, err
}

// editConfig adds the layer, and lets opm make its cache anew when it starts.
func editConfig(fields map[string]json.RawMessage, dir, diffID string) error {
	var rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	if err := json.Unmarshal(fields["rootfs"], &rootFS); err != nil {
		return err
	}
	rootFS.DiffIDs = append(rootFS.DiffIDs, diffID)
	var history []json.RawMessage
	if raw, ok := fields["history"]; ok {
		if err := json.Unmarshal(raw, &history); err != nil {
			return err
		}
	}
	history = append(history, json.RawMessage(`{"created_by":"slipway mirror: packages of an image set"}`))
	var err error
	if fields["rootfs"], err = json.Marshal(rootFS); err != nil {
		return err
	}
	if fields["history"], err = json.Marshal(history); err != nil {
		return err
	}
	fields["config"], err = edit(fields["config"], func(config map[string]json.RawMessage) error {
		var err error
		config["Cmd"], err = json.Marshal([]string{"serve", "/" + dir, "--cache-dir=/" + cacheDir, "--cache-enforce-integrity=false"})
		return err
	})
	return err
}

// edit changes fields of a JSON object and leaves the others as they are.
func edit(raw []byte, change func(map[string]json.RawMessage) error) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	if fields == nil {
		fields = map[string]json.RawMessage{}
	}
	if err := change(fields); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// configLayer is an archive with the configurations, the same for the same files.
func configLayer(dir string, files map[string][]byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	folder := func(name string, mode int64) error {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Format: tar.FormatPAX})
	}
	file := func(name string, data []byte) error {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o644, Format: tar.FormatPAX}); err != nil {
			return err
		}
		_, err := w.Write(data)
		return err
	}
	// The cache is written by whatever user the cluster gives the catalog.
	steps := []error{folder(dir, 0o755), file(dir+"/.wh..wh..opq", nil), folder(cacheDir, 0o777), file(cacheDir+"/.wh..wh..opq", nil)}
	folders := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if parent := path.Dir(name); parent != "." && !folders[parent] && !strings.Contains(parent, "/") {
			folders[parent] = true
			steps = append(steps, folder(dir+"/"+parent, 0o755))
		}
		steps = append(steps, file(dir+"/"+name, files[name]))
	}
	for _, err := range append(steps, w.Close()) {
		if err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

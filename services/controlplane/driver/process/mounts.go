package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/slipway-io/slipway/services/atomicfile"
	"github.com/slipway-io/slipway/services/controlplane"
)

// currentLink points to the version of a mount's content that is in force. Names with two dots at the
// start are ours, as in Kubernetes' own volumes: programs that watch those notice our changes too.
const currentLink = "..data"

// writeMount makes dir hold exactly the files of data, all changed at once, and returns their digest.
// Each file is a link into the current version, and one rename changes what is current.
func writeMount(dir string, data map[string][]byte) (string, error) {
	digest := digestOf(data)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	version := ".." + digest[:16]
	if current, err := root.Readlink(currentLink); err == nil && current == version && intact(root, version, data) {
		return digest, nil
	}
	if err := writeVersion(root, version, data); err != nil {
		return "", err
	}
	if err := relink(root, currentLink, version); err != nil {
		return "", err
	}
	for key := range data {
		if err := relink(root, key, filepath.Join(currentLink, key)); err != nil {
			return "", err
		}
	}
	if err := atomicfile.SyncDir(dir); err != nil {
		return "", err
	}
	return digest, tidyMount(dir, root, version, data)
}

func digestOf(data map[string][]byte) string {
	sum := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(data)) {
		fmt.Fprintf(sum, "%s %d\n", key, len(data[key]))
		sum.Write(data[key])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// intact compares the files themselves: a power cut may have left names without content.
func intact(root *os.Root, version string, data map[string][]byte) bool {
	for key, want := range data {
		link, err := root.Readlink(key)
		if err != nil || link != filepath.Join(currentLink, key) {
			return false
		}
		if got, err := root.ReadFile(filepath.Join(version, key)); err != nil || string(got) != string(want) {
			return false
		}
	}
	return true
}

func writeVersion(root *os.Root, version string, data map[string][]byte) error {
	if err := root.RemoveAll(version); err != nil {
		return err
	}
	if err := root.Mkdir(version, 0o700); err != nil {
		return err
	}
	for key, value := range data {
		if len(validation.IsConfigMapKey(key)) > 0 {
			return fmt.Errorf("key %q is no file name", key)
		}
		f, err := root.OpenFile(filepath.Join(version, key), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if _, err = f.Write(value); err == nil {
			err = f.Sync()
		}
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// relink points name to target in one step.
func relink(root *os.Root, name, target string) error {
	if current, err := root.Readlink(name); err == nil && current == target {
		return nil
	}
	temp := "..new-" + name
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.Symlink(target, temp); err != nil {
		return err
	}
	return root.Rename(temp, name)
}

// tidyMount removes old versions and the links of keys that are gone.
func tidyMount(dir string, root *os.Root, version string, data map[string][]byte) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if _, wanted := data[name]; wanted || name == currentLink || name == version {
			continue
		}
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

// dropMounts removes the mounts of components, and the mounts, that are no longer described.
func dropMounts(dir string, cp controlplane.ControlPlane) error {
	wanted := map[string]bool{}
	for _, c := range cp.Components {
		for _, m := range c.Mounts {
			wanted[filepath.Join(c.Name, m.Name)] = true
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "mounts", "*", "*"))
	if err != nil {
		return err
	}
	for _, path := range found {
		rel, err := filepath.Rel(filepath.Join(dir, "mounts"), path)
		if err != nil {
			return err
		}
		if !wanted[rel] {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}

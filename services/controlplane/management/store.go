package management

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/slipway-io/slipway/services/atomicfile"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// store keeps secrets as files that only the owner reads: they are needed before there is an API.
type store struct{ dir string }

// load returns every secret by name. A file that is no secret is an error: it may be a damaged
// authority, and a new one would lock everybody out.
func (s store) load() (map[string]*corev1.Secret, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("create %s: %w", s.dir, err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("read secrets: %w", err)
	}
	secrets := map[string]*corev1.Secret{}
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), ".yaml")
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(s.dir, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read secret %s: %w", name, err)
		}
		var secret corev1.Secret
		if err := yaml.UnmarshalStrict(data, &secret); err != nil {
			return nil, fmt.Errorf("read secret %s: %w", name, err)
		}
		if secret.Kind != "Secret" || len(secret.Data) == 0 {
			return nil, fmt.Errorf("read secret %s: %w", name, pki.ErrDamaged)
		}
		secrets[name] = &secret
	}
	return secrets, nil
}

// save writes the secrets that differ from those that were loaded.
func (s store) save(loaded, secrets map[string]*corev1.Secret) error {
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		if old := loaded[name]; old != nil && maps.EqualFunc(old.Data, secrets[name].Data, slices.Equal) {
			continue
		}
		secret := secrets[name].DeepCopy()
		secret.APIVersion, secret.Kind = "v1", "Secret"
		data, err := yaml.Marshal(secret)
		if err != nil {
			return fmt.Errorf("encode secret %s: %w", name, err)
		}
		if err := atomicfile.Write(s.path(name), data); err != nil {
			return err
		}
	}
	return nil
}

func (s store) path(name string) string { return filepath.Join(s.dir, name+".yaml") }

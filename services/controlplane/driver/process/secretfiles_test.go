//go:build integration

package process

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// secretFiles stands for the API that keeps a hosted control plane's secrets.
type secretFiles struct{ dir string }

func (s secretFiles) load() (map[string]*corev1.Secret, error) {
	secrets := map[string]*corev1.Secret{}
	paths, err := filepath.Glob(filepath.Join(s.dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var secret corev1.Secret
		if err := json.Unmarshal(data, &secret); err != nil {
			return nil, err
		}
		secrets[strings.TrimSuffix(filepath.Base(path), ".json")] = &secret
	}
	return secrets, nil
}

func (s secretFiles) save(secrets map[string]*corev1.Secret) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	for name, secret := range secrets {
		data, err := json.Marshal(secret)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.dir, name+".json"), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

package management

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"sigs.k8s.io/yaml"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// ErrKeyLost means that Secrets in etcd are encrypted and their key is not in the state directory. A new key would read none of them.
var ErrKeyLost = errors.New("the key of the Secrets in etcd is lost")

// encryptedPrefix stands before every encrypted value in etcd; the key's name and a colon follow.
const encryptedPrefix = "k8s:enc:secretbox:v1:"

// keySize of secretbox, in bytes.
const keySize = 32

// encryption is how the API server encrypts Secrets: one key, and whether it also reads what an older version left in clear.
type encryption struct {
	key   []byte
	clear bool
}

// newEncryption with a random key.
func newEncryption(clear bool) encryption {
	key := make([]byte, keySize)
	rand.Read(key) // never fails
	return encryption{key, clear}
}

// name of the key, which stands in etcd beside what it encrypted: so a backup's key can be told from another.
func (e encryption) name() string {
	sum := sha256.Sum256(e.key)
	return "key-" + hex.EncodeToString(sum[:4])
}

// prefix of what is encrypted with the key.
func (e encryption) prefix() []byte { return []byte(encryptedPrefix + e.name() + ":") }

// encode as an EncryptionConfiguration. The provider is secretbox (XSalsa20 and Poly1305): its random nonce has 192 bits, so that
// one key serves any number of writes. AES-GCM's has 96 and wants another key every 200,000 writes; AES-CBC is not authenticated.
func (e encryption) encode() ([]byte, error) {
	providers := []apiserverv1.ProviderConfiguration{{Secretbox: &apiserverv1.SecretboxConfiguration{
		Keys: []apiserverv1.Key{{Name: e.name(), Secret: base64.StdEncoding.EncodeToString(e.key)}},
	}}}
	if e.clear {
		providers = append(providers, apiserverv1.ProviderConfiguration{Identity: &apiserverv1.IdentityConfiguration{}})
	}
	data, err := yaml.Marshal(apiserverv1.EncryptionConfiguration{
		TypeMeta:  metav1.TypeMeta{APIVersion: apiserverv1.SchemeGroupVersion.String(), Kind: "EncryptionConfiguration"},
		Resources: []apiserverv1.ResourceConfiguration{{Resources: []string{"secrets"}, Providers: providers}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode encryption of Secrets: %w", err)
	}
	return data, nil
}

// decodeEncryption of a file that encode made; anything else is damaged.
func decodeEncryption(data []byte) (encryption, error) {
	var config apiserverv1.EncryptionConfiguration
	if err := yaml.UnmarshalStrict(data, &config); err != nil {
		return encryption{}, fmt.Errorf("%w: %w", pki.ErrDamaged, err)
	}
	var found encryption
	for _, resource := range config.Resources {
		for _, provider := range resource.Providers {
			found.clear = found.clear || provider.Identity != nil
			if provider.Secretbox == nil {
				continue
			}
			for _, key := range provider.Secretbox.Keys {
				if found.key == nil {
					found.key, _ = base64.StdEncoding.DecodeString(key.Secret) // its length tells
				}
			}
		}
	}
	if len(found.key) != keySize {
		return encryption{}, fmt.Errorf("no secretbox key of %d bytes: %w", keySize, pki.ErrDamaged)
	}
	return found, nil
}

// desiredEncryption is the one that is kept, or a new one. Etcd's data without a key are those of an older version, which kept
// Secrets in clear; if they hold anything encrypted, the key is lost and people have to decide.
func (s store) desiredEncryption(loaded map[string]*corev1.Secret, etcdDir string) (encryption, error) {
	if kept := loaded[controlplane.EncryptionSecret]; kept != nil {
		found, err := decodeEncryption(kept.Data[controlplane.EncryptionFile])
		if err != nil {
			return encryption{}, fmt.Errorf("read secret %s: %w: put the file %s of a backup of the state directory back", controlplane.EncryptionSecret, err, s.path(controlplane.EncryptionSecret))
		}
		return found, nil
	}
	_, err := os.Stat(etcdDir)
	if errors.Is(err, fs.ErrNotExist) {
		return newEncryption(false), nil
	}
	if err != nil {
		return encryption{}, fmt.Errorf("look for etcd's data: %w", err)
	}
	encrypted, err := holds(etcdDir, []byte(encryptedPrefix))
	if err != nil {
		return encryption{}, fmt.Errorf("search etcd's data: %w", err)
	}
	if encrypted != "" {
		return encryption{}, fmt.Errorf("%w: %s has Secrets that nobody can read without %s: put that file back from a backup of the state directory, or move %s away to begin with an empty management API",
			ErrKeyLost, encrypted, s.path(controlplane.EncryptionSecret), filepath.Dir(s.dir))
	}
	return newEncryption(true), nil
}

// secret in which the encryption is stored and mounted.
func (e encryption) secret() (*corev1.Secret, error) {
	data, err := e.encode()
	if err != nil {
		return nil, err
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: controlplane.EncryptionSecret}, Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{controlplane.EncryptionFile: data},
	}, nil
}

// holds names the first file below dir in which text stands; empty when there is none.
func holds(dir string, text []byte) (found string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		file, err := root.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		has, err := contains(file, text)
		if has {
			found = filepath.Join(dir, path)
			return fs.SkipAll
		}
		return err
	})
	return found, err
}

// contains reads a stream in pieces, with the end of one kept before the next.
func contains(from io.Reader, text []byte) (bool, error) {
	reader := bufio.NewReaderSize(from, 64<<10)
	var window []byte
	piece := make([]byte, 1<<20)
	for {
		n, err := reader.Read(piece)
		window = append(window, piece[:n]...)
		if bytes.Contains(window, text) {
			return true, nil
		}
		window = slices.Clone(window[max(0, len(window)-len(text)+1):])
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

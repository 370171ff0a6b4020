package management

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

func TestEncryptionIsKept(t *testing.T) {
	for _, clear := range []bool{false, true} {
		made := newEncryption(clear)
		data, err := made.encode()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "identity") != clear {
			t.Errorf("clear %t:\n%s", clear, data)
		}
		read, err := decodeEncryption(data)
		if err != nil || !bytes.Equal(read.key, made.key) || read.clear != clear || read.name() != made.name() {
			t.Errorf("read %v, %v", read.clear, err)
		}
	}
	if one, other := newEncryption(false), newEncryption(false); one.name() == other.name() {
		t.Error("two keys are one")
	}
}

func TestDamagedEncryption(t *testing.T) {
	for name, data := range map[string]string{
		"empty": "", "no YAML": "x: [", "another kind": "kind: Secret", "no provider": "resources: [{resources: [secrets], providers: [{identity: {}}]}]",
		"short key": "resources: [{resources: [secrets], providers: [{secretbox: {keys: [{name: a, secret: AAAA}]}}]}]",
		"no base64": "resources: [{resources: [secrets], providers: [{secretbox: {keys: [{name: a, secret: '!'}]}}]}]",
	} {
		if _, err := decodeEncryption([]byte(data)); !errors.Is(err, pki.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDesiredEncryption by what lies in the state directory.
func TestDesiredEncryption(t *testing.T) {
	kept, err := newEncryption(true).secret()
	if err != nil {
		t.Fatal(err)
	}
	damaged := kept.DeepCopy()
	damaged.Data[controlplane.EncryptionFile] = []byte("{}")
	for name, one := range map[string]struct {
		loaded *corev1.Secret
		etcd   string
		clear  bool
		want   error
	}{
		"first start":           {},
		"older version":         {etcd: "password", clear: true},
		"key lost":              {etcd: "xx" + encryptedPrefix + "key-1:…", want: ErrKeyLost},
		"kept":                  {loaded: kept, etcd: "password", clear: true},
		"kept, and is used":     {loaded: kept, etcd: encryptedPrefix, clear: true},
		"damaged":               {loaded: damaged, want: pki.ErrDamaged},
		"damaged, without data": {loaded: &corev1.Secret{}, want: pki.ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "etcd")
			if one.etcd != "" {
				path := filepath.Join(dir, "member", "wal", "0.wal")
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(one.etcd), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			loaded := map[string]*corev1.Secret{}
			if one.loaded != nil {
				loaded[controlplane.EncryptionSecret] = one.loaded
			}
			got, err := store{dir: "/state/secrets"}.desiredEncryption(loaded, dir)
			if !errors.Is(err, one.want) || err == nil && (len(got.key) != keySize || got.clear != one.clear) {
				t.Errorf("clear %t, %v", got.clear, err)
			}
			if err != nil && !strings.Contains(err.Error(), "/state/secrets/"+controlplane.EncryptionSecret+".yaml") {
				t.Errorf("does not say which file: %v", err)
			}
		})
	}
}

func TestContains(t *testing.T) {
	text := []byte("needle")
	for _, before := range []int{0, 5, 1<<20 - 3, 1 << 20, 3<<20 - 1} {
		hay := append(bytes.Repeat([]byte("n"), before), "needlx needle"...)
		if found, err := contains(bytes.NewReader(hay), text); !found || err != nil {
			t.Errorf("%d bytes before: %t, %v", before, found, err)
		}
		if found, err := contains(bytes.NewReader(hay[:len(hay)-1]), text); found || err != nil {
			t.Errorf("%d bytes before, cut short: %t, %v", before, found, err)
		}
	}
	if _, err := contains(iotest.ErrReader(errors.New("broken")), text); err == nil {
		t.Error("no error")
	}
}

func TestKeyName(t *testing.T) {
	own := newEncryption(false)
	for value, want := range map[string]string{
		"": "", "k8s\x00\n": "", encryptedPrefix: "", encryptedPrefix + "cut": "", string(own.prefix()) + "…": own.name(), "k8s:enc:aescbc:v1:a:": "",
	} {
		if got := keyName([]byte(value)); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

// TestKeyOutlivesStarts, and an older version's clear Secrets are not called encrypted while they are not.
func TestKeyOutlivesStarts(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	if err := os.MkdirAll(filepath.Join(dir, "controlplanes", "management", "data", "etcd", "member"), 0o700); err != nil {
		t.Fatal(err)
	}
	driver := &readyDriver{}
	for range 2 {
		if err := plane(dir, driver, now).Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	first, second := driver.applied[0].Secrets[controlplane.EncryptionSecret], driver.applied[1].Secrets[controlplane.EncryptionSecret]
	if !bytes.Equal(first.Data[controlplane.EncryptionFile], second.Data[controlplane.EncryptionFile]) {
		t.Error("another key at the second start")
	}
	if !strings.Contains(string(second.Data[controlplane.EncryptionFile]), "identity") {
		t.Error("the migration could not even begin, and is called finished")
	}
}

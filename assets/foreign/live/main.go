// Command live does what a discovery configuration says, in a live system that has neither Ignition nor systemd: it trusts
// the CAs, writes and fetches the files, and becomes the program of the one unit.
//
// It is for Slipway's own discovery configurations; what they do not use is refused.
package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// fileLimit bounds what a file may have: it is kept in memory.
const fileLimit = 256 << 20

// config is what is used of an Ignition configuration, 3.x.
type config struct {
	Ignition struct {
		Version  string `json:"version"`
		Security struct {
			TLS struct {
				CertificateAuthorities []resource `json:"certificateAuthorities"`
			} `json:"tls"`
		} `json:"security"`
	} `json:"ignition"`
	Storage struct {
		Files []struct {
			Path     string   `json:"path"`
			Mode     *int     `json:"mode"`
			Contents resource `json:"contents"`
		} `json:"files"`
	} `json:"storage"`
	Systemd struct {
		Units []unit `json:"units"`
	} `json:"systemd"`
}

type resource struct {
	Source       string `json:"source"`
	Compression  string `json:"compression"`
	Verification struct {
		Hash string `json:"hash"`
	} `json:"verification"`
}

type unit struct {
	Name     string `json:"name"`
	Enabled  bool   `json:"enabled"`
	Contents string `json:"contents"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: live CONFIG")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "live:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration, which the boot server appends to the initrd: %w", err)
	}
	var c config
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if !strings.HasPrefix(c.Ignition.Version, "3.") {
		return fmt.Errorf("configuration has version %q, not 3.x", c.Ignition.Version)
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	for _, file := range c.Storage.Files {
		if err := write(client, "/", file.Path, file.Mode, file.Contents); err != nil {
			return fmt.Errorf("write %s: %w", file.Path, err)
		}
	}
	program, env, err := command(c.Systemd.Units, os.ReadFile)
	if err != nil {
		return err
	}
	return syscall.Exec(program[0], program, append(os.Environ(), env...))
}

// client trusts the configuration's CAs alone.
func (c config) client() (*http.Client, error) {
	pool := x509.NewCertPool()
	for _, ca := range c.Ignition.Security.TLS.CertificateAuthorities {
		pem, err := decode(ca.Source)
		if err != nil || !pool.AppendCertsFromPEM(pem) {
			return nil, errors.Join(errors.New("a certificate authority of the configuration is not one"), err)
		}
	}
	return &http.Client{Timeout: 10 * time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}, nil
}

func write(client *http.Client, root, path string, mode *int, contents resource) error {
	if contents.Compression != "" {
		return fmt.Errorf("compression %q is not supported", contents.Compression)
	}
	data, err := content(client, contents)
	if err != nil {
		return err
	}
	permissions := os.FileMode(0o644)
	if mode != nil {
		permissions = os.FileMode(*mode).Perm()
	}
	to := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	// A program that runs cannot be written; its name can be given to another file.
	if err := os.WriteFile(to+".new", data, permissions); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

func content(client *http.Client, r resource) ([]byte, error) {
	if r.Source == "" {
		return nil, nil
	}
	if !strings.HasPrefix(r.Source, "https:") {
		return decode(r.Source)
	}
	want, ok := strings.CutPrefix(r.Verification.Hash, "sha256-")
	if !ok {
		return nil, errors.New("a download without a sha256 is refused")
	}
	response, err := client.Get(r.Source)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server says %s", response.Status)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, fileLimit))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return nil, fmt.Errorf("it has digest %s, not %s", got, want)
	}
	return data, nil
}

// decode reads a data URL (RFC 2397).
func decode(source string) ([]byte, error) {
	rest, ok := strings.CutPrefix(source, "data:")
	header, body, comma := strings.Cut(rest, ",")
	if !ok || !comma {
		scheme, _, _ := strings.Cut(source, ":")
		return nil, fmt.Errorf("source with scheme %q is not supported, only data and https are", scheme)
	}
	if strings.HasSuffix(header, ";base64") {
		return base64.StdEncoding.DecodeString(body)
	}
	text, err := url.PathUnescape(body)
	return []byte(text), err
}

// command reads the one enabled unit: its ExecStart and its EnvironmentFile.
func command(units []unit, read func(string) ([]byte, error)) (program, env []string, err error) {
	for _, u := range units {
		if !u.Enabled || !strings.HasSuffix(u.Name, ".service") {
			continue
		}
		if program != nil {
			return nil, nil, fmt.Errorf("unit %s: one unit is all that this live system runs", u.Name)
		}
		for line := range strings.Lines(u.Contents) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "ExecStart":
				program = strings.Fields(value)
			case "EnvironmentFile":
				data, err := read(value)
				if err != nil {
					return nil, nil, fmt.Errorf("unit %s: %w", u.Name, err)
				}
				env = append(env, strings.Fields(string(data))...)
			}
		}
	}
	if len(program) == 0 {
		return nil, nil, errors.New("the configuration has no enabled unit with an ExecStart")
	}
	return program, env, nil
}

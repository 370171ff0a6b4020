// Package signature checks release signatures: OpenPGP messages with an "atomic container signature", as OpenShift publishes them.
package signature

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

const (
	maxSignature  = 50 << 10
	maxSignatures = 9
	atomicType    = "atomic container signature"
)

var (
	// ErrUnsigned says that there is no signature for the digest.
	ErrUnsigned = errors.New("no signature")
	// ErrInvalid says that a signature proves nothing.
	ErrInvalid = errors.New("invalid signature")
)

// Keys are public keys that may sign.
type Keys struct {
	ring openpgp.EntityList
	now  func() time.Time
}

// ReadKeys reads public keys, armored or not.
func ReadKeys(files ...[]byte) (Keys, error) {
	k := Keys{now: time.Now}
	for _, raw := range files {
		ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(raw))
		if err != nil {
			ring, err = openpgp.ReadKeyRing(bytes.NewReader(raw))
		}
		if err != nil || len(ring) == 0 {
			return Keys{}, errors.New("read public keys: no OpenPGP key in the file")
		}
		k.ring = append(k.ring, ring...)
	}
	return k, nil
}

// Empty tells that there is no key to check against.
func (k Keys) Empty() bool { return len(k.ring) == 0 }

// statement is what was signed.
type statement struct {
	Critical struct {
		Type  string `json:"type"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
	} `json:"critical"`
	Optional json.RawMessage `json:"optional,omitempty"`
}

// Verify checks one signature for a digest. The whole message is read before its signature counts: a library knows only then whether it is good.
func (k Keys) Verify(raw []byte, digest string) error {
	if len(raw) > maxSignature {
		return fmt.Errorf("%w: larger than %d bytes", ErrInvalid, maxSignature)
	}
	message, err := openpgp.ReadMessage(bytes.NewReader(raw), k.ring, nil, &packet.Config{Time: k.now})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if !message.IsSigned {
		return fmt.Errorf("%w: the message is not signed", ErrInvalid)
	}
	body, err := io.ReadAll(io.LimitReader(message.UnverifiedBody, maxSignature+1))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(body) > maxSignature {
		return fmt.Errorf("%w: the message unpacks to more than %d bytes", ErrInvalid, maxSignature)
	}
	if message.SignatureError != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, message.SignatureError)
	}
	if message.SignedBy == nil || message.Signature == nil {
		return fmt.Errorf("%w: signed by key %X, which is not among those given", ErrInvalid, message.SignedByKeyId)
	}
	return check(body, digest)
}

// check reads what was signed.
func check(body []byte, digest string) error {
	var s statement
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return fmt.Errorf("%w: what was signed can't be read: %w", ErrInvalid, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more follows what was signed", ErrInvalid)
	}
	switch {
	case s.Critical.Type != atomicType:
		return fmt.Errorf("%w: it is a %.60q, want %q", ErrInvalid, s.Critical.Type, atomicType)
	case s.Critical.Identity.Reference == "":
		return fmt.Errorf("%w: it names no image", ErrInvalid)
	case s.Critical.Image.Digest != digest:
		return fmt.Errorf("%w: it is for %.100s, asked for %s", ErrInvalid, s.Critical.Image.Digest, digest)
	}
	return nil
}

// Any checks signatures of a digest until one is good, and returns the good ones.
func (k Keys) Any(raw [][]byte, digest string) ([][]byte, error) {
	var good [][]byte
	var errs []error
	for _, one := range raw {
		if err := k.Verify(one, digest); err != nil {
			errs = append(errs, err)
		} else {
			good = append(good, one)
		}
	}
	if len(good) > 0 {
		return good, nil
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("%w for %s", ErrUnsigned, digest)
	}
	return nil, errors.Join(errs...)
}

// Fetch gets the signatures of a digest from a store: an http(s):// address or a directory, below which sha256=<hex>/signature-1 and so on are.
func Fetch(ctx context.Context, client *http.Client, store, digest string) ([][]byte, error) {
	folder := strings.Replace(digest, ":", "=", 1)
	var all [][]byte
	for n := 1; n <= maxSignatures; n++ {
		name := "signature-" + strconv.Itoa(n)
		var raw []byte
		var err error
		if strings.HasPrefix(store, "http://") || strings.HasPrefix(store, "https://") {
			raw, err = get(ctx, client, strings.TrimSuffix(store, "/")+"/"+folder+"/"+name)
		} else {
			raw, err = os.ReadFile(filepath.Join(strings.TrimPrefix(store, "file://"), folder, name))
		}
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("get signature of %s: %w", digest, err)
		}
		all = append(all, raw)
	}
	return all, nil
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return io.ReadAll(io.LimitReader(resp.Body, maxSignature+1))
	case http.StatusNotFound, http.StatusForbidden: // object stores say 403 of what is not there
		return nil, fs.ErrNotExist
	}
	return nil, fmt.Errorf("%s answers %s", req.URL.Host, resp.Status)
}

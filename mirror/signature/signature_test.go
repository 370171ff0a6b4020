package signature

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

var digest = "sha256:" + strings.Repeat("a", 64)

func key(t testing.TB) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("release", "", "release@example.com", &packet.Config{Time: func() time.Time { return time.Now().Add(-2 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func keys(t testing.TB, e *openpgp.Entity) Keys {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err == nil {
		err = errors.Join(e.Serialize(w), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	k, err := ReadKeys(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t testing.TB, e *openpgp.Entity, body string, config *packet.Config) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := openpgp.Sign(&out, e, nil, config)
	if err == nil {
		_, err = w.Write([]byte(body))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func statementFor(kind, digest string) string {
	return fmt.Sprintf(`{"critical":{"image":{"docker-manifest-digest":%q},"type":%q,"identity":{"docker-reference":"quay.io/openshift-release-dev/ocp-release:4.18.1-x86_64"}},"optional":{"creator":"x"}}`, digest, kind)
}

func TestVerify(t *testing.T) {
	e := key(t)
	k := keys(t, e)
	good := sign(t, e, statementFor(atomicType, digest), nil)
	if err := k.Verify(good, digest); err != nil {
		t.Fatal(err)
	}
	altered := bytes.Replace(good, []byte("4.18.1"), []byte("4.18.2"), 1)
	if bytes.Equal(altered, good) {
		t.Fatal("the test alters nothing")
	}
	var unsigned bytes.Buffer
	w, err := packet.SerializeLiteral(nopCloser{&unsigned}, false, "", 0)
	if err == nil {
		_, err = w.Write([]byte(statementFor(atomicType, digest)))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	long := uint32(60)
	for name, raw := range map[string][]byte{
		"altered after signing": altered,
		"for another digest":    sign(t, e, statementFor(atomicType, "sha256:"+strings.Repeat("b", 64)), nil),
		"by another key":        sign(t, key(t), statementFor(atomicType, digest), nil),
		"of another type":       sign(t, e, statementFor("cosign container image signature", digest), nil),
		"with unknown fields":   sign(t, e, strings.Replace(statementFor(atomicType, digest), `"optional"`, `"extra":1,"optional"`, 1), nil),
		"with more behind":      sign(t, e, statementFor(atomicType, digest)+"{}", nil),
		"of nobody":             unsigned.Bytes(),
		"expired":               sign(t, e, statementFor(atomicType, digest), &packet.Config{SigLifetimeSecs: long, Time: func() time.Time { return time.Now().Add(-time.Hour) }}),
		"cut":                   good[:len(good)-20],
		"rubbish":               []byte("rubbish"),
		"empty":                 nil,
		"too large":             make([]byte, maxSignature+1),
	} {
		if err := k.Verify(raw, digest); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if _, err := k.Any(nil, digest); !errors.Is(err, ErrUnsigned) {
		t.Errorf("none: %v", err)
	}
	if found, err := k.Any([][]byte{altered, good}, digest); err != nil || len(found) != 1 {
		t.Errorf("one of two is good: %d, %v", len(found), err)
	}
}

type nopCloser struct{ *bytes.Buffer }

func (nopCloser) Close() error { return nil }

func TestFetch(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		folder := "/store/" + strings.Replace(digest, ":", "=", 1)
		if r.URL.Path != folder+"/signature-1" && r.URL.Path != folder+"/signature-2" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(w, r.URL.Path[len(r.URL.Path)-1:])
	}))
	defer server.Close()
	found, err := Fetch(t.Context(), server.Client(), server.URL+"/store/", digest)
	if err != nil || len(found) != 2 || string(found[1]) != "2" {
		t.Errorf("%q, %v", found, err)
	}
	if found, err := Fetch(t.Context(), nil, t.TempDir(), digest); err != nil || len(found) != 0 {
		t.Errorf("empty directory: %q, %v", found, err)
	}
}

func FuzzSignature(f *testing.F) {
	e := key(f)
	k := keys(f, e)
	other := "sha256:" + strings.Repeat("c", 64)
	f.Add(sign(f, e, statementFor(atomicType, digest), nil))
	f.Add([]byte{0xc0, 1, 2})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := k.Verify(raw, other); err == nil {
			t.Fatal("nobody has signed this digest")
		}
	})
}

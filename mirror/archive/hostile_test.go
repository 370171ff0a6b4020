package archive

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
)

func TestHostileArchives(t *testing.T) {
	hex := strings.Repeat("a", 64)
	name := "sha256-" + hex + ".segment"
	for reason, index := range map[string]string{
		"path traversal":     `{"version":1,"segments":[{"name":"../../etc/passwd","size":1}]}`,
		"absolute path":      `{"version":1,"segments":[{"name":"/etc/passwd","size":1}]}`,
		"piece outside":      `{"version":1,"segments":[{"name":"` + name + `","size":10}],"blobs":{"sha256:` + hex + `":[{"segment":0,"offset":5,"length":6}]}}`,
		"piece overflows":    `{"version":1,"segments":[{"name":"` + name + `","size":10}],"blobs":{"sha256:` + hex + `":[{"segment":0,"offset":9223372036854775807,"length":9223372036854775807}]}}`,
		"negative offset":    `{"version":1,"segments":[{"name":"` + name + `","size":10}],"blobs":{"sha256:` + hex + `":[{"segment":0,"offset":-1,"length":2}]}}`,
		"no such segment":    `{"version":1,"segments":[],"blobs":{"sha256:` + hex + `":[{"segment":3,"offset":0,"length":1}]}}`,
		"no digest":          `{"version":1,"segments":[],"blobs":{"../x":[]}}`,
		"one over the other": `{"version":1,"segments":[{"name":"` + name + `","size":10}],"blobs":{"sha256:` + hex + `":[{"segment":0,"offset":0,"length":5},{"segment":0,"offset":4,"length":5}]}}`,
		"other version":      `{"version":2}`,
		"no index":           `[]`,
		"larger than it is":  `{"version":1,"segments":[{"name":"` + name + `","size":1099511627776}],"blobs":{}}`,
	} {
		t.Run(reason, func(t *testing.T) {
			dir := t.TempDir()
			raw, err := plan.New().Encode()
			if err != nil {
				t.Fatal(err)
			}
			index = strings.Replace(index, `{"version":1,`, fmt.Sprintf(`{"version":1,"plan":"sha256:%x",`, sha256.Sum256(raw)), 1)
			for file, data := range map[string][]byte{IndexName: []byte(index), PlanName: raw, name: []byte("0123456789")} {
				if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Open(dir, t.TempDir()); !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
		})
	}
}

func TestHostileFiles(t *testing.T) {
	t.Run("oversized index", func(t *testing.T) {
		dir := t.TempDir()
		file, err := os.Create(filepath.Join(dir, IndexName))
		if err == nil {
			err = errors.Join(file.Truncate(maxIndex+1), file.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, t.TempDir()); !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v, want ErrInvalid", err)
		}
	})
	t.Run("segment is a link", func(t *testing.T) {
		p, m := planned(t, 1, 1000)
		dir := t.TempDir()
		write(t, WriteConfig{Dir: dir, Plan: p, Source: m})
		segments, err := filepath.Glob(filepath.Join(dir, "*.segment"))
		if err == nil {
			err = errors.Join(os.Remove(segments[0]), os.Symlink("/etc/passwd", segments[0]))
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, t.TempDir()); !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v, want ErrInvalid", err)
		}
	})
}

func TestDamagedSegmentIsNoticed(t *testing.T) {
	p, m := planned(t, 1, 1000)
	dir := t.TempDir()
	write(t, WriteConfig{Dir: dir, Plan: p, Source: m})
	segments, err := filepath.Glob(filepath.Join(dir, "*.segment"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(segments[0])
	if err == nil {
		raw[50] ^= 1
		err = os.WriteFile(segments[0], raw, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for digest := range p.Blobs { // whichever is wanted, what lies beside it in the segment is read as well
		if err := r.Verify(t.Context(), []string{digest}, nil); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), filepath.Base(segments[0])) {
			t.Errorf("verify: %v", err)
		}
	}
	wrong := 0
	for digest, blob := range p.Blobs {
		body, err := r.Open(t.Context(), digest, blob, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(body); errors.Is(err, remote.ErrDigest) {
			wrong++
		}
		body.Close()
	}
	if wrong != 1 {
		t.Errorf("%d blobs are noticed as wrong, want 1", wrong)
	}
}

// TestDamagedPieceIsTakenAwayAgain: what was put aside from a damaged segment does not stand in the way of a good copy of it.
func TestDamagedPieceIsTakenAwayAgain(t *testing.T) {
	p, m := planned(t, 1, 1000)
	dir, usb, stash := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, WriteConfig{Dir: dir, Plan: p, Source: m, Segment: 1500})
	segments, err := filepath.Glob(filepath.Join(dir, "*.segment"))
	if err != nil || len(segments) != 2 {
		t.Fatal(segments, err)
	}
	for _, name := range []string{IndexName, PlanName} {
		move(t, filepath.Join(dir, name), filepath.Join(usb, name))
	}
	take := func(segment string, harm bool) error {
		carried := filepath.Join(usb, filepath.Base(segment))
		move(t, segment, carried)
		defer os.Remove(carried)
		if harm {
			raw, err := os.ReadFile(carried)
			if err != nil {
				return err
			}
			for at := range raw {
				raw[at] ^= 1
			}
			if err := os.WriteFile(carried, raw, 0o600); err != nil {
				return err
			}
		}
		r, err := Open(usb, stash)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := r.Stash(t.Context()); err != nil {
			return err
		}
		var whole []string
		for digest := range m.blobs {
			if pieces := r.index.Blobs[digest]; len(pieces) > 1 && r.Has(digest) {
				whole = append(whole, digest)
			}
		}
		return r.Verify(t.Context(), whole, nil)
	}
	for _, step := range []struct {
		segment int
		harm    bool
		fine    bool
	}{{0, true, true}, {1, false, false}, {0, false, true}, {1, false, true}} {
		if err := take(segments[step.segment], step.harm); (err == nil) != step.fine {
			t.Errorf("%+v: %v", step, err)
		}
	}
}

func FuzzArchive(f *testing.F) {
	p, _ := planned(f, 1, 1000)
	pieces, sizes, err := layout(p, nil, 700)
	if err != nil {
		f.Fatal(err)
	}
	x := Index{Version: version, Plan: "sha256:" + strings.Repeat("0", 64), Blobs: pieces}
	for n, size := range sizes {
		x.Segments = append(x.Segments, Segment{Name: fmt.Sprintf("sha256-%064d.segment", n), Size: size})
	}
	raw, err := json.Marshal(x)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"version":1,"segments":[{"name":"../x","size":1}]}`))
	f.Add([]byte(`{"version":1,"blobs":{"sha256:a":[{"segment":-1}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := decodeIndex(raw)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v is not ErrInvalid", err)
			}
			return
		}
		for _, pieces := range x.Blobs {
			for _, p := range pieces {
				if p.Offset < 0 || p.Length <= 0 || p.Offset+p.Length > x.Segments[p.Segment].Size {
					t.Fatalf("piece %+v lies outside", p)
				}
			}
		}
		for _, s := range x.Segments {
			if filepath.Base(s.Name) != s.Name {
				t.Fatalf("segment %q leads outside", s.Name)
			}
		}
	})
}

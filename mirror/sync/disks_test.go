package sync

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
)

// disk has some of the blobs, and may be pulled out.
type disk struct {
	Registries
	has  func(digest string) bool
	left atomic.Int64 // times that it can be read before it is pulled out
}

func (d *disk) Has(digest string) bool { return d.has(digest) }

func (d *disk) Open(ctx context.Context, digest string, blob plan.Blob, offset int64) (io.ReadCloser, error) {
	if d.left.Add(-1) < 0 {
		return nil, &fs.PathError{Op: "read", Path: "x.segment", Err: unix.EIO}
	}
	return d.Registries.Open(ctx, digest, blob, offset)
}

// load runs with a state of its own: each disk has its own.
func (s *site) load(t *testing.T, p *plan.Plan, d *disk, state string) (*Result, error) {
	t.Helper()
	known, err := OpenState(filepath.Join(s.dir, state))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := known.Close(); err != nil {
			t.Error(err)
		}
	}()
	d.Client = s.client
	work, err := Prepare(t.Context(), Config{Plan: p, Source: d, Target: s.client, Host: s.target.host, Namespace: "m", State: known, Workers: 4,
		Fatal: func(err error) bool { return errors.Is(err, unix.EIO) }})
	if err != nil {
		t.Fatal(err)
	}
	return work.Do(t.Context())
}

// Content that comes on two disks, each with what it knows of the target, makes whole images in either order.
func TestLoadsOfTwoDisks(t *testing.T) {
	for first := range 2 {
		t.Run(strconv.Itoa(first), func(t *testing.T) {
			s := newSite(t)
			base := layer(t, 50_000)
			names := []string{"one:v1", "two:v1", "three:v1"}
			for _, n := range names {
				push(t, s.source.host+"/"+n, image(t, base, layer(t, 10_000)))
			}
			digest, err := base.Digest()
			if err != nil {
				t.Fatal(err)
			}
			p := s.plan(t, names...)
			loads := []*disk{
				{has: func(d string) bool { return d == digest.String() }},
				{has: func(d string) bool { return d != digest.String() }},
			}
			for i, at := range []int{first, 1 - first} {
				loads[at].left.Store(100)
				result, err := s.load(t, p, loads[at], "disk"+strconv.Itoa(at))
				if err != nil || result.Failed != 0 || i == 0 && result.Waiting != 3 || i == 1 && result.Copied != 3 {
					t.Fatalf("load %d: %+v, %v", i, result, err)
				}
			}
			for _, n := range names {
				s.pulls(t, n)
			}
		})
	}
}

// A disk that is pulled out ends the run: images wait, none has failed, and the next run brings what is left.
func TestPulledOut(t *testing.T) {
	s := newSite(t)
	var names []string
	for i := range 8 {
		n := "image" + strconv.Itoa(i) + ":v1"
		push(t, s.source.host+"/"+n, image(t, layer(t, 20_000)))
		names = append(names, n)
	}
	p := s.plan(t, names...)
	d := &disk{has: func(string) bool { return true }}
	d.left.Store(6)
	result, err := s.load(t, p, d, "state")
	if !errors.Is(err, unix.EIO) || result.Failed != 0 || result.Waiting == 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	for _, o := range result.Images {
		_, err := s.client.Resolve(t.Context(), remote.Repository{Host: s.target.host, Path: "m/" + o.Origin[len(s.source.host)+1:len(o.Origin)-3]}, "v1")
		if (err == nil) != (o.Status == Copied) {
			t.Errorf("%s is %s, and the target says %v", o.Origin, o.Status, err)
		}
	}
	moved := result.Blobs
	d.left.Store(100)
	if result, err = s.load(t, p, d, "state"); err != nil || result.Failed+result.Waiting != 0 || moved+result.Blobs != 16 {
		t.Errorf("%d blobs before, then %+v, %v", moved, result, err)
	}
	for _, n := range names {
		s.pulls(t, n)
	}
}

// Package archive carries a plan's content across a gap: segments of exact size that can be checked by hand, imported in any order and lost one at a time.
package archive

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"

	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
)

// Names of files in an archive's directory, beside the segments.
const (
	IndexName = "archive.json"
	PlanName  = "plan.json"
	SumsName  = "SHA256SUMS"
	// StateName is what the target's side writes for the next increment.
	StateName = "destination-state.jsonl"
	// ChartsName is where charts travel, as in oc-mirror's working-dir.
	ChartsName = "working-dir/helm/charts"
)

const (
	version     = 1
	maxIndex    = 256 << 20
	maxSegments = 100_000
	maxPieces   = 4_000_000
	// DefaultSegment is the size of segments where the image set says nothing, as in oc-mirror.
	DefaultSegment = 500 << 30
)

// ErrInvalid says that an archive is not what it should be, by accident or by intent. Nothing of it is imported.
var ErrInvalid = errors.New("archive refused")

var segmentName = regexp.MustCompile(`^sha256-[0-9a-f]{64}\.segment$`)

// Index says where in which segment each blob is.
type Index struct {
	Version  int                `json:"version"`
	Plan     string             `json:"plan"` // sha256 digest of the plan's file
	Segments []Segment          `json:"segments"`
	Blobs    map[string][]Piece `json:"blobs"`
	// Assumed blobs are left out: the target's state file says that it has them.
	Assumed int `json:"assumed,omitempty"`
}

// Segment is one file; its name is the digest of its content.
type Segment struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// Piece of a blob; blobs have several where a segment ends.
type Piece struct {
	Segment int   `json:"segment"`
	Offset  int64 `json:"offset"`
	Length  int64 `json:"length"`
}

// decodeIndex reads an index and refuses what could lead astray: names outside, pieces outside their segment or over one another.
func decodeIndex(raw []byte) (*Index, error) {
	var x Index
	if err := json.Unmarshal(raw, &x); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, IndexName, err)
	}
	if x.Version != version {
		return nil, fmt.Errorf("%w: %s is of version %d, want %d", ErrInvalid, IndexName, x.Version, version)
	}
	if len(x.Segments) > maxSegments {
		return nil, fmt.Errorf("%w: more than %d segments", ErrInvalid, maxSegments)
	}
	for _, s := range x.Segments {
		if !segmentName.MatchString(s.Name) || s.Size <= 0 {
			return nil, fmt.Errorf("%w: segment %.100q of %d bytes", ErrInvalid, s.Name, s.Size)
		}
	}
	return &x, x.checkPieces()
}

func (x *Index) checkPieces() error {
	perSegment := make([][]Piece, len(x.Segments))
	count := 0
	for digest, pieces := range x.Blobs {
		if !remote.ValidDigest(digest) {
			return fmt.Errorf("%w: blob %.100q is no digest", ErrInvalid, digest)
		}
		if count += len(pieces); count > maxPieces {
			return fmt.Errorf("%w: more than %d pieces", ErrInvalid, maxPieces)
		}
		for _, p := range pieces {
			if p.Segment < 0 || p.Segment >= len(x.Segments) || p.Offset < 0 || p.Length <= 0 || p.Length > x.Segments[p.Segment].Size-p.Offset {
				return fmt.Errorf("%w: blob %s has a piece outside its segment", ErrInvalid, digest)
			}
			perSegment[p.Segment] = append(perSegment[p.Segment], p)
		}
	}
	for n, pieces := range perSegment {
		slices.SortFunc(pieces, func(a, b Piece) int { return cmp.Compare(a.Offset, b.Offset) })
		end := int64(0)
		for _, p := range pieces {
			if p.Offset < end {
				return fmt.Errorf("%w: pieces lie over one another in %s", ErrInvalid, x.Segments[n].Name)
			}
			end = p.Offset + p.Length
		}
	}
	return nil
}

// fits holds the index against the plan that came with it.
func (x *Index) fits(p *plan.Plan) error {
	for digest, pieces := range x.Blobs {
		blob, ok := p.Blobs[digest]
		if !ok {
			return fmt.Errorf("%w: blob %s is not in the plan", ErrInvalid, digest)
		}
		var size int64
		for _, piece := range pieces {
			size += piece.Length
		}
		if size != blob.Size {
			return fmt.Errorf("%w: blob %s has %d bytes in the archive, the plan says %d", ErrInvalid, digest, size, blob.Size)
		}
	}
	return nil
}

// readFile reads a file below root, a plain one of bounded size.
func readFile(root *os.Root, name string, most int64) ([]byte, error) {
	file, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, fmt.Errorf("%w: %s is no plain file of at most %d bytes", ErrInvalid, name, most)
	}
	return io.ReadAll(io.LimitReader(file, most))
}

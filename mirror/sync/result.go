package sync

import (
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/slipway-io/slipway/mirror/durable"
	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
)

// Status of an image after a run.
type Status string

// Statuses.
const (
	Copied  Status = "copied"
	Present Status = "present" // it was there before
	Failed  Status = "failed"
	// Waiting images lack content that is in another segment of the archive, or the run was interrupted before their turn.
	Waiting Status = "waiting"
)

// Outcome is what became of an image.
type Outcome struct {
	Origin      string        `json:"origin"`
	Category    plan.Category `json:"category"`
	Owner       string        `json:"owner,omitempty"`
	Destination string        `json:"destination,omitempty"`
	Digest      string        `json:"digest,omitempty"`
	Status      Status        `json:"status"`
	Error       string        `json:"error,omitempty"`
	// Cause is there when it is not the image's own: a sentence that is the same for all images that it hits.
	Cause string `json:"cause,omitempty"`
}

// Result of a run.
type Result struct {
	Target  string    `json:"target"`
	Images  []Outcome `json:"images"`
	Copied  int       `json:"copied"`
	Present int       `json:"present"`
	Failed  int       `json:"failed"`
	Waiting int       `json:"waiting"`
	// Bytes that were moved in this run.
	Bytes int64 `json:"bytes"`
	Blobs int64 `json:"blobs"`
	// Mounted blobs were not moved: the target had them in another repository.
	Mounted  int64 `json:"mounted"`
	ExitCode int   `json:"exitCode"`
}

// Exit codes are a bitmask, as oc-mirror's: what failed.
const (
	ExitGeneric    = 1
	ExitRelease    = 2
	ExitOperator   = 4
	ExitAdditional = 8
	ExitHelm       = 16
)

func exitBit(category plan.Category) int {
	switch category {
	case plan.Release:
		return ExitRelease
	case plan.Operator:
		return ExitOperator
	case plan.Additional:
		return ExitAdditional
	case plan.Helm:
		return ExitHelm
	}
	return ExitGeneric
}

// Add counts an outcome.
func (r *Result) Add(o Outcome) {
	r.Images = append(r.Images, o)
	switch o.Status {
	case Copied:
		r.Copied++
	case Present:
		r.Present++
	case Waiting:
		r.Waiting++
	case Failed:
		r.Failed++
		r.ExitCode |= exitBit(o.Category)
	}
}

// AddFailures counts what could not even be planned.
func (r *Result) AddFailures(failures []plan.Failure) {
	for _, f := range failures {
		r.Add(Outcome{Origin: f.Origin, Category: f.Category, Owner: f.Owner, Status: Failed, Error: f.Error, Cause: f.Cause})
	}
}

// Write puts the result into a file for programs.
func (r *Result) Write(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	return durable.Write(path, append(raw, '\n'), 0o644)
}

// Progress is read while a run goes on.
type Progress struct {
	bytes, bytesTotal, images, imagesTotal, failed atomic.Int64
}

// Snapshot of a run.
type Snapshot struct {
	Bytes, BytesTotal, Images, ImagesTotal, Failed int64
}

// Snapshot reads all counters.
func (p *Progress) Snapshot() Snapshot {
	return Snapshot{p.bytes.Load(), p.bytesTotal.Load(), p.images.Load(), p.imagesTotal.Load(), p.failed.Load()}
}

// Expect tells how much there is to do.
func (p *Progress) Expect(images, bytes int64) {
	p.imagesTotal.Store(images)
	p.bytesTotal.Store(bytes)
}

// Moved counts bytes.
func (p *Progress) Moved(bytes int64) { p.bytes.Add(bytes) }

func (r *run) result() *Result {
	result := &Result{Target: r.target(r.Namespace).String(), Bytes: r.bytes.Load(), Blobs: r.blobs.Load(), Mounted: r.mounted.Load()}
	for _, j := range r.jobs {
		o := Outcome{Origin: j.image.Origin, Category: j.image.Category, Owner: j.image.Owner, Digest: j.image.Digest, Status: j.status,
			Destination: remote.Reference{Repository: r.target(j.path), Tag: j.image.Tag, Digest: ""}.String()}
		if o.Status == "" {
			o.Status = Waiting
		}
		if j.image.Tag == "" {
			o.Destination += "@" + j.image.Digest
		}
		if j.err != nil {
			o.Error, o.Cause = j.err.Error(), remote.Blame(j.err)
		}
		result.Add(o)
	}
	return result
}

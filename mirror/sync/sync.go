// Package sync brings a plan's content to a registry: one queue of blobs, each moved once, and every image as soon as its blobs are there.
package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
)

// Source has the content of blobs.
type Source interface {
	// Has tells whether a blob can be had now.
	Has(digest string) bool
	Open(ctx context.Context, digest string, blob plan.Blob, offset int64) (io.ReadCloser, error)
}

// Config of a run.
type Config struct {
	Plan   *plan.Plan
	Source Source
	Target *remote.Client
	// Host and Namespace of the target; the namespace may be empty.
	Host, Namespace string
	State           *State
	// Workers move blobs side by side; 0 means 8.
	Workers int
	// Verify is asked once, before the first byte moves, whether the blobs that will be read from the source are what their digests promise:
	// an archive that was tampered with changes nothing at the target. Where it says no, nothing moves. nil asks nobody.
	Verify func(ctx context.Context, digests []string) error
	// Fatal tells errors of which all that is left would fail as well, like those of a disk that was pulled out: they end the run.
	Fatal    func(error) bool
	Log      *slog.Logger
	Progress *Progress
}

// errWaiting says that content is not to be had yet.
var errWaiting = errors.New("its content is in a segment that is not here")

// run is one run's bookkeeping. All fields below mu are guarded by it.
type run struct {
	Config
	bytes, blobs, mounted atomic.Int64
	stop                  context.CancelCauseFunc // ends the run early

	mu        sync.Mutex
	jobs      []*job
	byOrigin  map[string][]*job
	waiting   map[need][]*job // jobs that wait for a blob in a repository
	confirmed map[need]bool   // blobs that the target vouched for in this run
}

// need is a blob in a repository of the target.
type need struct{ repository, blob string }

// job is an image on its way.
type job struct {
	image   plan.Image
	path    string // repository at the target
	missing int    // blobs, and images that it needs
	blocks  []*job // images that need this one
	status  Status
	// unlisted: a referrer that the target does not list by itself
	unlisted bool
	err      error
}

// Work is what a run has to do: known before it begins.
type Work struct {
	run     *run
	tasks   []*task
	Missing Missing
}

// Missing is what the target lacks.
type Missing struct {
	Images, Blobs int
	Bytes         int64
}

// Prepare asks the target what it has.
func Prepare(ctx context.Context, c Config) (*Work, error) {
	if c.Workers <= 0 {
		c.Workers = 8
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Progress == nil {
		c.Progress = &Progress{}
	}
	r := &run{Config: c, byOrigin: map[string][]*job{}, waiting: map[need][]*job{}, confirmed: map[need]bool{}}
	for _, image := range c.Plan.Images {
		j := &job{image: image, path: r.path(image.Repository)}
		r.jobs = append(r.jobs, j)
		r.byOrigin[image.Origin] = append(r.byOrigin[image.Origin], j)
	}
	c.Progress.imagesTotal.Store(int64(len(r.jobs)))
	if err := r.survey(ctx); err != nil {
		return nil, err
	}
	tasks, err := r.prepare()
	if err != nil {
		return nil, err
	}
	w := &Work{run: r, tasks: tasks}
	for _, j := range r.jobs {
		if j.status == "" {
			w.Missing.Images++
		}
	}
	for _, t := range tasks {
		if r.State.holder(t.digest, "") == "" {
			w.Missing.Blobs++
			w.Missing.Bytes += t.size
		}
	}
	c.Progress.bytesTotal.Store(w.Missing.Bytes)
	return w, nil
}

// Do moves what the target lacks. What fails is in the result, and what was not moved is waiting there.
// The error says why the run ended early: ctx, content that Verify refuses, or a fatal fault.
func (w *Work) Do(ctx context.Context) (*Result, error) {
	ctx, w.run.stop = context.WithCancelCause(ctx)
	defer w.run.stop(nil)
	if err := w.verify(ctx); err != nil {
		if ctx.Err() == nil && !w.run.fatal(err) {
			w.run.refuse(ctx, err)
		}
		return w.run.result(), err
	}
	w.run.work(ctx, w.tasks)
	if ctx.Err() == nil {
		if err := w.run.fallbacks(ctx); err != nil {
			w.run.Log.Warn("referrers can't be listed at the target", "err", err)
		}
	}
	return w.run.result(), context.Cause(ctx)
}

func (r *run) fatal(err error) bool { return r.Fatal != nil && r.Fatal(err) }

// verify has the content checked that the tasks will read.
func (w *Work) verify(ctx context.Context) error {
	if w.run.Verify == nil {
		return nil
	}
	var digests []string
	for _, t := range w.tasks {
		if w.run.Source.Has(t.digest) {
			digests = append(digests, t.digest)
		}
	}
	return w.run.Verify(ctx, digests)
}

// refuse fails every image that is not at the target yet.
func (r *run) refuse(ctx context.Context, reason error) {
	for _, j := range r.jobs {
		r.end(ctx, j, fmt.Errorf("nothing of it is used: %w", reason))
	}
}

func (r *run) path(repository string) string {
	if r.Namespace == "" {
		return repository
	}
	return r.Namespace + "/" + repository
}

func (r *run) target(path string) remote.Repository {
	return remote.Repository{Host: r.Host, Path: path}
}

// task is one blob and the repositories that need it.
type task struct {
	digest string
	size   int64
	paths  []string
}

// prepare counts what each image waits for, and lists the blobs to move, the largest first: then none is late alone.
func (r *run) prepare() ([]*task, error) {
	tasks := map[string]*task{}
	for _, j := range r.jobs {
		if j.status != "" {
			continue
		}
		blobs, err := r.Plan.BlobsOf(j.image)
		if err != nil {
			return nil, err
		}
		for _, digest := range blobs {
			if r.State.has(j.path, digest) {
				continue
			}
			j.missing++
			n := need{j.path, digest}
			r.waiting[n] = append(r.waiting[n], j)
			t := tasks[digest]
			if t == nil {
				t = &task{digest: digest, size: r.Plan.Blobs[digest].Size}
				tasks[digest] = t
			}
			if !slices.Contains(t.paths, j.path) {
				t.paths = append(t.paths, j.path)
			}
		}
		r.prepareNeeds(j)
	}
	sorted := make([]*task, 0, len(tasks))
	for _, t := range tasks {
		sorted = append(sorted, t)
	}
	slices.SortFunc(sorted, func(a, b *task) int {
		return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(a.digest, b.digest))
	})
	return sorted, nil
}

func (r *run) prepareNeeds(j *job) {
	for _, origin := range j.image.Needs {
		for _, other := range r.byOrigin[origin] {
			if other != j && other.image.Subject == "" && other.status != Present {
				j.missing++
				other.blocks = append(other.blocks, j)
			}
		}
	}
}

// work moves blobs and images until nothing is left, or ctx ends.
func (r *run) work(ctx context.Context, tasks []*task) {
	var steps []func()
	for _, j := range r.jobs {
		if j.status == "" && j.missing == 0 {
			steps = append(steps, func() { r.finish(ctx, j) })
		}
	}
	for _, t := range tasks {
		steps = append(steps, func() { r.move(ctx, t) })
	}
	r.all(ctx, steps)
}

// move brings one blob to all repositories that need it.
func (r *run) move(ctx context.Context, t *task) {
	if !r.Source.Has(t.digest) && r.State.holder(t.digest, "") == "" {
		for _, path := range t.paths {
			r.arrived(ctx, need{path, t.digest}, errWaiting)
		}
		return
	}
	// The repository where an earlier run has begun goes first.
	slices.SortStableFunc(t.paths, func(a, b string) int {
		return cmp.Compare(r.State.upload(b, t.digest), r.State.upload(a, t.digest))
	})
	var gone error // content that can't be had for one repository can't be had for the next
	for _, path := range t.paths {
		if ctx.Err() != nil {
			return
		}
		err := gone
		if err == nil {
			err = r.bring(ctx, t, path)
		}
		if remote.FromSource(err) {
			gone = err
		}
		if err != nil && ctx.Err() != nil {
			return
		}
		r.arrived(ctx, need{path, t.digest}, err)
	}
}

// bring mounts a blob, or uploads it where it can't be mounted.
func (r *run) bring(ctx context.Context, t *task, path string) error {
	upload := remote.Upload{Repository: r.target(path), Blob: remote.Descriptor{Digest: t.digest, Size: t.size}, Location: r.State.upload(path, t.digest)}
	if holder := r.State.holder(t.digest, path); holder != "" {
		mounted, location, err := r.Target.Mount(ctx, r.target(path), t.digest, holder)
		if err != nil {
			return err
		}
		if mounted {
			r.mounted.Add(1)
			return r.State.note(entry{Repository: path, Blob: t.digest})
		}
		upload.Location, upload.Known = location, true
		if !r.Source.Has(t.digest) {
			return errWaiting
		}
		r.Progress.bytesTotal.Add(t.size)
	}
	var noteErr error
	upload.Begun = func(location string) {
		noteErr = r.State.note(entry{Repository: path, Blob: t.digest, Location: location})
	}
	upload.Source = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		body, err := r.Source.Open(ctx, t.digest, r.Plan.Blobs[t.digest], offset)
		if err != nil {
			return nil, err
		}
		return &counted{ReadCloser: body, run: r}, nil
	}
	if err := r.Target.Upload(ctx, upload); err != nil {
		return err
	}
	if noteErr != nil {
		return noteErr
	}
	r.blobs.Add(1)
	return r.State.note(entry{Repository: path, Blob: t.digest})
}

// counted counts bytes as they pass.
type counted struct {
	io.ReadCloser
	run *run
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.run.bytes.Add(int64(n))
	c.run.Progress.bytes.Add(int64(n))
	return n, err
}

// arrived tells the images that waited for a blob, and finishes those that have everything.
func (r *run) arrived(ctx context.Context, n need, err error) {
	r.mu.Lock()
	waiting := r.waiting[n]
	delete(r.waiting, n)
	r.mu.Unlock()
	for _, j := range waiting {
		r.advance(ctx, j, err)
	}
}

// advance takes one thing off what an image waits for.
func (r *run) advance(ctx context.Context, j *job, err error) {
	r.mu.Lock()
	j.missing--
	ready := j.missing == 0 && j.status == "" && err == nil
	r.mu.Unlock()
	if err != nil {
		r.end(ctx, j, err)
	} else if ready {
		r.finish(ctx, j)
	}
}

// end settles an image's outcome and tells those that need it.
func (r *run) end(ctx context.Context, j *job, err error) {
	if err != nil && r.stop != nil && r.fatal(err) {
		r.stop(err)
		return
	}
	r.mu.Lock()
	if j.status != "" {
		r.mu.Unlock()
		return
	}
	switch {
	case err == nil:
		j.status = Copied
		r.Progress.images.Add(1)
	case errors.Is(err, errWaiting):
		j.status = Waiting
	default:
		j.status, j.err = Failed, err
		r.Progress.failed.Add(1)
	}
	blocks := j.blocks
	r.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("it needs %s, which is not there: %w", j.image.Origin, err)
	}
	for _, other := range blocks {
		r.advance(ctx, other, err)
	}
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-io/slipway/mirror/archive"
	"github.com/slipway-io/slipway/mirror/durable"
	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
	"github.com/slipway-io/slipway/mirror/sync"
	"github.com/slipway-io/slipway/mirror/workspace"
)

// toArchive mirrors to a directory that is carried to the target.
func (m *mirror) toArchive(ctx context.Context, dir string) (err error) {
	set, err := m.readSet()
	if err != nil {
		return err
	}
	if set.Delete {
		return errors.New("the image set says what to delete: use mirror delete")
	}
	w, err := m.open(dir)
	if err != nil {
		return err
	}
	defer func() { err = closing(err, w.Close()) }()
	planPath := w.PlanPath(m.config, "archive")
	options := m.planOptions("", m.log)
	if options.Previous, err = w.Previous(planPath); err != nil {
		return err
	}
	assumed, err := m.assumed(dir)
	if err != nil {
		return err
	}
	p, err := m.build(ctx, w, set, options)
	if err != nil {
		return err
	}
	var missing sync.Missing
	missing.Images = len(p.Images)
	missing.Blobs, missing.Bytes = archive.Missing(p, assumed)
	disk, own := archive.Describe(dir)
	if err := m.show(p, missing, fmt.Sprintf("the archive in %s (%s)", dir, disk)); err != nil {
		return err
	}
	if own && forDisks(dir) {
		fmt.Fprintf(m.out, "no disk is mounted at %s: what is written there fills the disk of this machine\n", dir)
	}
	if m.dryRun {
		return m.dry(w, p, "file://"+dir)
	}
	if err := p.Write(planPath); err != nil {
		return err
	}
	start := time.Now()
	progress := &sync.Progress{}
	progress.Expect(0, missing.Bytes) // images are whole when all is there
	stop := m.follow(ctx, progress, start)
	written, err := archive.Write(ctx, archive.WriteConfig{Dir: dir, Plan: p, Source: sync.Registries{Client: m.source, Blobs: w.Path("blobs")},
		Segment: set.ArchiveSize << 30, Assumed: assumed, Workers: m.parallelImages * m.parallelLayers, Log: m.log, Moved: progress.Moved})
	stop()
	if ctx.Err() != nil {
		return &failed{sync.ExitGeneric, "interrupted: the same command continues"}
	}
	if err != nil {
		return err
	}
	p.Failures = append(p.Failures, m.charts(p, w.Path("helm", "charts"), filepath.Join(dir, archive.ChartsName))...)
	result := archived(p, written)
	if err := result.Write(w.Path("result.json")); err != nil {
		return err
	}
	fmt.Fprintf(m.out, "%d images in %d segments, %s, of which %s were moved in %s; %d blobs left out because the target has them\n",
		result.Copied, written.Segments, size(written.Bytes), size(written.Moved), time.Since(start).Round(100*time.Millisecond), written.Assumed)
	fmt.Fprintf(m.out, "carry %s, %s and the segments of %s; check them with sha256sum -c %s\n", archive.IndexName, archive.PlanName, dir, archive.SumsName)
	return m.verdict(result)
}

// archived is the outcome of each image: one whose content could not be had is not in the archive.
func archived(p *plan.Plan, written *archive.Written) *sync.Result {
	result := &sync.Result{Target: "archive", Bytes: written.Moved}
	for _, image := range p.Images {
		o := sync.Outcome{Origin: image.Origin, Category: image.Category, Owner: image.Owner, Digest: image.Digest, Status: sync.Copied}
		blobs, err := p.BlobsOf(image)
		for _, digest := range blobs {
			err = errors.Join(err, written.Failed[digest])
		}
		if err != nil {
			o.Status, o.Error, o.Cause = sync.Failed, err.Error(), remote.Blame(err)
		}
		result.Add(o)
	}
	result.AddFailures(p.Failures)
	return result
}

// assumed reads what the target has, as its side wrote it: the file that --since names, or the one that came back with the archive's directory.
func (m *mirror) assumed(dir string) (map[string]bool, error) {
	path := m.since
	if path == "" {
		path = filepath.Join(dir, archive.StateName)
	} else if _, err := time.Parse(time.DateOnly, path); err == nil {
		return nil, fmt.Errorf("--since %s: a date says nothing about what the target has; name the %s that the import wrote", path, archive.StateName)
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && m.since == "" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what the target has: %w", err)
	}
	defer file.Close()
	blobs, err := sync.ReadBlobs(file)
	if err != nil {
		return nil, fmt.Errorf("read what the target has from %s: %w", path, err)
	}
	return blobs, nil
}

// fromArchive brings an archive, or the segments of it that are here, to a registry.
func (m *mirror) fromArchive(ctx context.Context, dir, host, namespace string) (err error) {
	if m.config != "" {
		fmt.Fprintln(m.out, "-c is without use here: the archive has its plan")
	}
	if _, err := os.Stat(filepath.Join(dir, archive.IndexName)); err != nil { // before a workspace is made where no disk is
		return fmt.Errorf("open archive: %w; is the disk mounted? Every segment is carried together with %s and %s", err, archive.IndexName, archive.PlanName)
	}
	if m.disk, err = archive.LookAt(dir); err != nil {
		return err
	}
	w, err := m.open(dir)
	if errors.Is(err, fs.ErrPermission) || err != nil && strings.Contains(err.Error(), "read-only") {
		return fmt.Errorf("%v; name a --workspace elsewhere", err) // whose advice would be that the disk fails
	}
	if err != nil {
		return err
	}
	defer func() { err = closing(err, w.Close()) }()
	reader, err := archive.Open(dir, m.stash(w))
	if err != nil {
		return err
	}
	defer func() { err = closing(err, reader.Close()) }()
	here, all := reader.Segments()
	fmt.Fprintf(m.out, "archive: %d of %d segments are here\n", here, all)
	if err := reader.Stash(ctx); err != nil {
		return err
	}
	target := strings.TrimSuffix(host+"/"+namespace, "/")
	reader.Plan.Failures = append(reader.Plan.Failures, m.charts(reader.Plan, filepath.Join(dir, archive.ChartsName), w.Path("helm", "charts"))...)
	after := func(state *sync.State) error {
		blobs, err := sync.ReadBlobs(strings.NewReader(string(state.Export())))
		if err != nil {
			return err
		}
		return errors.Join(reader.Unstash(func(digest string) bool { return blobs[digest] }), m.carryBack(dir, w.Path(archive.StateName), state))
	}
	return m.move(ctx, w, reader.Plan, w.PlanPath(cmp.Or(reader.Plan.ImageSet, "archive"), target), after, sync.Config{Plan: reader.Plan, Source: reader,
		Target: m.target, Host: host, Namespace: namespace, Verify: m.verify(reader), Fatal: archive.Broken, Workers: m.parallelImages * m.parallelLayers, Log: m.log, Progress: &sync.Progress{}})
}

// verify reads what will be used of an archive, before anything of it is.
func (m *mirror) verify(reader *archive.Reader) func(context.Context, []string) error {
	return func(ctx context.Context, digests []string) error {
		bytes := reader.Bytes(digests)
		if bytes == 0 {
			return nil
		}
		fmt.Fprintf(m.out, "checking %s of the archive before any of it is used\n", size(bytes))
		progress := &sync.Progress{}
		progress.Expect(0, bytes)
		defer m.follow(ctx, progress, time.Now())()
		return reader.Verify(ctx, digests, progress.Moved)
	}
}

// stash is the folder for pieces of blobs that lie across the end of a segment. The next segment may come on another disk, so it is
// this machine's, unless a workspace is named.
func (m *mirror) stash(w *workspace.Workspace) string {
	state, err := os.Getenv("XDG_STATE_HOME"), error(nil)
	if state == "" {
		if state, err = os.UserHomeDir(); err == nil {
			state = filepath.Join(state, ".local", "state")
		}
	}
	if m.workspace != "" || err != nil {
		return w.Path("stash")
	}
	return filepath.Join(state, "slipway", "stash")
}

// forDisks tells whether a directory is where systems mount disks.
func forDisks(dir string) bool {
	path, err := filepath.Abs(dir)
	return err == nil && slices.ContainsFunc([]string{"/media/", "/run/media/", "/mnt/"}, func(place string) bool { return strings.HasPrefix(path+"/", place) })
}

// closing adds what closing says, unless the disk is broken anyway.
func closing(err, closed error) error {
	if archive.Broken(err) {
		return err
	}
	return errors.Join(err, closed)
}

// carryBack writes what the target has now into the archive's directory, for the next increment.
func (m *mirror) carryBack(dir, own string, state *sync.State) error {
	raw := state.Export()
	if err := durable.Write(own, raw, 0o644); err != nil {
		return err
	}
	path := filepath.Join(dir, archive.StateName)
	if err := durable.Write(path, raw, 0o644); err != nil {
		fmt.Fprintf(m.out, "what the target has is in %s: carry it back, the next archive leaves it out with --since\n", own)
		return nil
	}
	fmt.Fprintf(m.out, "what the target has is in %s: carried back, the next archive leaves it out\n", path)
	return nil
}

// target of docker://, when it is one.
func registryTarget(destination string) (host, namespace string, found bool, err error) {
	target, found := strings.CutPrefix(destination, "docker://")
	if !found {
		return "", "", false, nil
	}
	host, namespace, err = remote.ParseTarget(target)
	return host, namespace, true, err
}

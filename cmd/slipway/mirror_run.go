package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-io/slipway/mirror/archive"
	"github.com/slipway-io/slipway/mirror/helm"
	"github.com/slipway-io/slipway/mirror/imageset"
	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
	"github.com/slipway-io/slipway/mirror/resources"
	"github.com/slipway-io/slipway/mirror/sync"
	"github.com/slipway-io/slipway/mirror/workspace"
)

// mirror is one run of the verb.
type mirror struct {
	mirrorFlags
	source, target *remote.Client
	perSecond      float64 // the cap; 0 without one
	out            io.Writer
	disk           archive.Disk // of the archive that is brought to a registry
	log            *slog.Logger
}

func (m *mirror) close() {
	m.source.Close()
	m.target.Close()
}

// run decides by the destination and --from.
func (m *mirror) run(ctx context.Context, destination string) error {
	host, namespace, toRegistry, err := registryTarget(destination)
	if err != nil {
		return err
	}
	if m.from != "" {
		dir, err := directory("--from", m.from)
		if err != nil {
			return err
		}
		if !toRegistry {
			return fmt.Errorf("destination %q: an archive goes to docker://registry[/namespace]", destination)
		}
		return archive.Advise(m.fromArchive(ctx, dir, host, namespace))
	}
	if toRegistry {
		return m.toRegistry(ctx, host, namespace)
	}
	dir, err := directory("destination", destination)
	if err != nil {
		return fmt.Errorf("%w, or docker://registry[/namespace]", err)
	}
	return archive.Advise(m.toArchive(ctx, dir))
}

// build plans an image set.
func (m *mirror) build(ctx context.Context, w *workspace.Workspace, set *imageset.Set, options plan.Options) (*plan.Plan, error) {
	var err error
	if options.Release, err = m.releaseOptions(); err != nil {
		return nil, err
	}
	options.Blobs = w.Path("blobs")
	options.Charts = helm.Reader{Dir: w.Path("helm"), HTTP: options.Release.HTTP}
	p, err := plan.Build(ctx, set, m.source, options)
	if err != nil {
		return nil, err
	}
	p.ImageSet = filepath.Base(m.config)
	return p, nil
}

// resources writes what clusters need to find what is at the target.
func (m *mirror) resources(w *workspace.Workspace, p *plan.Plan, result *sync.Result, c sync.Config) error {
	there := map[string]bool{}
	for _, o := range result.Images {
		if o.Status == sync.Copied || o.Status == sync.Present {
			there[o.Origin] = true
		}
	}
	files, err := resources.Render(p, func(image plan.Image) bool { return there[image.Origin] },
		resources.Options{Host: c.Host, Namespace: c.Namespace, Repositories: m.repositories, Apart: m.apart})
	if err != nil {
		return err
	}
	dir := w.Path("cluster-resources")
	if err := resources.Write(dir, files); err != nil {
		return err
	}
	fmt.Fprintf(m.out, "resources for clusters: %s\n", dir)
	return nil
}

// open opens the workspace.
func (m *mirror) open(fallback string) (*workspace.Workspace, error) {
	dir := fallback
	if m.workspace != "" {
		var err error
		if dir, err = directory("--workspace", m.workspace); err != nil {
			return nil, err
		}
	}
	return workspace.Open(dir)
}

// toRegistry mirrors straight from the sources.
func (m *mirror) toRegistry(ctx context.Context, host, namespace string) (err error) {
	set, err := m.readSet()
	if err != nil {
		return err
	}
	if set.Delete {
		return errors.New("the image set says what to delete: use mirror delete")
	}
	w, err := m.open("slipway-mirror")
	if err != nil {
		return err
	}
	defer func() { err = closing(err, w.Close()) }()
	target := strings.TrimSuffix(host+"/"+namespace, "/")
	planPath := w.PlanPath(m.config, target)
	options := m.planOptions(namespace, m.log)
	if options.Previous, err = w.Previous(planPath); err != nil {
		return err
	}
	p, err := m.build(ctx, w, set, options)
	if err != nil {
		return err
	}
	p.Failures = append(p.Failures, m.charts(p, w.Path("helm", "charts"), w.Path("helm", "charts"))...)
	return m.move(ctx, w, p, planPath, nil, sync.Config{Plan: p, Source: sync.Registries{Client: m.source, Blobs: w.Path("blobs")},
		Target: m.target, Host: host, Namespace: namespace, Workers: m.parallelImages * m.parallelLayers, Log: m.log, Progress: &sync.Progress{}})
}

// move shows the plan, and moves what the target lacks. after is called with what the target has then; it may be nil.
func (m *mirror) move(ctx context.Context, w *workspace.Workspace, p *plan.Plan, planPath string, after func(*sync.State) error, c sync.Config) (err error) {
	target := strings.TrimSuffix(c.Host+"/"+c.Namespace, "/")
	state, err := sync.OpenState(w.StatePath(target))
	if err != nil {
		return err
	}
	defer func() { err = closing(err, state.Close()) }()
	c.State = state
	work, err := sync.Prepare(ctx, c)
	if err != nil {
		return err
	}
	if err := m.show(p, work.Missing, target); err != nil {
		return err
	}
	if m.dryRun {
		return m.dry(w, p, target)
	}
	if err := p.Write(planPath); err != nil {
		return err
	}
	start := time.Now()
	stop := m.follow(ctx, c.Progress, start)
	result, ended := work.Do(ctx)
	stop()
	if ended == nil {
		ended = m.disk.Stays()
	}
	result.AddFailures(p.Failures)
	if ctx.Err() != nil {
		result.ExitCode |= sync.ExitGeneric
	} else if ended != nil {
		return m.ended(w, result, ended)
	}
	if err := result.Write(w.Path("result.json")); err != nil {
		return err
	}
	if after != nil {
		if err := after(state); err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		if err := m.resources(w, p, result, c); err != nil {
			return err
		}
	}
	return m.finish(ctx, w, result, time.Since(start))
}

// dry writes what would go where.
func (m *mirror) dry(w *workspace.Workspace, p *plan.Plan, target string) error {
	var mapping strings.Builder
	for _, image := range p.Images {
		fmt.Fprintf(&mapping, "%s@%s=%s/%s", image.Source, image.Digest, target, image.Repository)
		if image.Tag != "" {
			fmt.Fprintf(&mapping, ":%s", image.Tag)
		}
		mapping.WriteByte('\n')
	}
	if err := os.WriteFile(w.Path("dry-run", "mapping.txt"), []byte(mapping.String()), 0o644); err != nil {
		return fmt.Errorf("write mapping: %w", err)
	}
	if err := p.Write(w.Path("dry-run", "plan.json")); err != nil {
		return err
	}
	fmt.Fprintf(m.out, "dry run: nothing was moved; see %s\n", w.Path("dry-run"))
	result := &sync.Result{}
	result.AddFailures(p.Failures)
	return m.verdict(result)
}

// finish says what became of the run.
func (m *mirror) finish(ctx context.Context, w *workspace.Workspace, result *sync.Result, took time.Duration) error {
	fmt.Fprintf(m.out, "%d images copied, %d were there, %d failed, %d waiting; %s in %s, %d blobs moved, %d mounted\n",
		result.Copied, result.Present, result.Failed, result.Waiting, size(result.Bytes), took.Round(100*time.Millisecond), result.Blobs, result.Mounted)
	fmt.Fprintf(m.out, "result: %s\n", w.Path("result.json"))
	if result.Waiting > 0 && ctx.Err() == nil {
		fmt.Fprintln(m.out, "images that wait need segments that are not here yet, or content that the target no longer has: bring the other segments, or an archive made without --since")
	}
	if ctx.Err() != nil {
		return &failed{sync.ExitGeneric, "interrupted: the same command continues"}
	}
	return m.verdict(result)
}

// show prints the plan before anything moves.
func (m *mirror) show(p *plan.Plan, missing sync.Missing, target string) error {
	totals, err := p.Totals()
	if err != nil {
		return err
	}
	fmt.Fprintf(m.out, "plan: %d images, %d blobs, %s; sharing saves %s\n", totals.Images, totals.Blobs, size(totals.Bytes), size(totals.Shared))
	if n := len(p.Failures); n > 0 && missing.Images > 0 && !m.dryRun { // in a dry run the list comes next
		fmt.Fprintf(m.out, "%d images can't be had:\n", n)
		planned := &sync.Result{}
		planned.AddFailures(p.Failures)
		printFailures(m.out, planned.Images)
	}
	fmt.Fprintf(m.out, "%s lacks %d images, %d blobs, %s%s\n", target, missing.Images, missing.Blobs, size(missing.Bytes), m.estimate(missing.Bytes))
	return nil
}

// estimate says how long bytes take: at the cap, or at rates that people know.
func (m *mirror) estimate(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	at := func(perSecond float64) time.Duration {
		return time.Duration(float64(bytes) / perSecond * float64(time.Second)).Round(time.Second)
	}
	if m.perSecond > 0 {
		return fmt.Sprintf(": %s at the bandwidth that is allowed", at(m.perSecond))
	}
	return fmt.Sprintf(": %s at 100 Mbit/s, %s at 1 Gbit/s", at(12.5e6), at(125e6))
}

// follow prints progress until the returned function is called.
func (m *mirror) follow(ctx context.Context, progress *sync.Progress, start time.Time) (stop func()) {
	ticker := time.NewTicker(progressEvery)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				m.progress(progress.Snapshot(), time.Since(start))
			case <-done:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (m *mirror) progress(s sync.Snapshot, since time.Duration) {
	if s.Bytes == 0 { // an archive is being checked, which has a line of its own, or the first answer is awaited
		return
	}
	perSecond := float64(s.Bytes) / max(since.Seconds(), 0.001)
	left := "?"
	if perSecond > 0 {
		left = time.Duration(float64(max(s.BytesTotal-s.Bytes, 0)) / perSecond * float64(time.Second)).Round(time.Second).String()
	}
	if s.ImagesTotal > 0 {
		fmt.Fprintf(m.out, "%d/%d images, ", s.Images, s.ImagesTotal)
	}
	if s.Failed > 0 {
		fmt.Fprintf(m.out, "%d failed, ", s.Failed)
	}
	fmt.Fprintf(m.out, "%s of %s, %s/s, %s left\n", size(s.Bytes), size(s.BytesTotal), size(int64(perSecond)), left)
}

// size in the unit that reads best.
func size(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", bytes)
}

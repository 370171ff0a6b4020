// Package workspace is the folder that mirroring keeps between runs: plans, what targets have, results and the resources for clusters.
package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-io/slipway/mirror/plan"
)

// Workspace is an open working-dir; no other run uses it meanwhile.
type Workspace struct {
	dir  string
	lock *os.File
}

// Open makes the folder dir/working-dir where it isn't there, and takes it for this run.
func Open(dir string) (*Workspace, error) {
	w := &Workspace{dir: filepath.Join(dir, "working-dir")}
	for _, sub := range []string{"plans", "state", "blobs", "dry-run"} {
		if err := os.MkdirAll(filepath.Join(w.dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("open workspace: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(w.dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open workspace: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("open workspace %s: another run uses it; wait for it or name another --workspace", w.dir)
	}
	w.lock = lock
	return w, nil
}

// Close gives the folder back.
func (w *Workspace) Close() error {
	if err := w.lock.Close(); err != nil {
		return fmt.Errorf("close workspace: %w", err)
	}
	return nil
}

// Path of something in the workspace.
func (w *Workspace) Path(elements ...string) string {
	return filepath.Join(append([]string{w.dir}, elements...)...)
}

var unsafe = regexp.MustCompile(`[^a-zA-Z0-9._-]+`)

// fileName makes a name for a file of any text.
func fileName(text string) string {
	return strings.Trim(unsafe.ReplaceAllString(text, "_"), "._")
}

// PlanPath is where the plan of an image set for a target is kept. A later plan of the same set replaces it.
func (w *Workspace) PlanPath(imageSet, target string) string {
	base := strings.TrimSuffix(filepath.Base(imageSet), filepath.Ext(imageSet))
	return w.Path("plans", fileName(base)+"--"+fileName(target)+".json")
}

// StatePath is where it is kept what a target has.
func (w *Workspace) StatePath(target string) string {
	return w.Path("state", fileName(target)+".jsonl")
}

// Previous plan of an image set, or nil where there is none that can be used.
func (w *Workspace) Previous(path string) (*plan.Plan, error) {
	p, err := plan.Read(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, plan.ErrInvalid) {
		return nil, nil // without it everything is asked for again
	}
	return p, err
}

// Kept lists the plans of all image sets for a target, by file name.
func (w *Workspace) Kept(target string) (map[string]*plan.Plan, error) {
	files, err := filepath.Glob(w.Path("plans", "*--"+fileName(target)+".json"))
	if err != nil {
		return nil, fmt.Errorf("list plans: %w", err)
	}
	kept := map[string]*plan.Plan{}
	for _, file := range files {
		p, err := plan.Read(file)
		if err != nil {
			return nil, err
		}
		kept[filepath.Base(file)] = p
	}
	return kept, nil
}

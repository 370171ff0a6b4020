package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Agent is the static slipway-agent that hosts download.
type Agent struct {
	*Artifact
}

// OpenAgent reads the program once for its digest.
func OpenAgent(ctx context.Context, path string) (*Agent, error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("open agent: %w", err)
	}
	agent, err := readAgent(ctx, root, filepath.Base(path))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read agent %s: %w", path, err), root.Close())
	}
	return agent, nil
}

func readAgent(ctx context.Context, root *os.Root, name string) (*Agent, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	sum, err := digest(ctx, f, func(int64) {})
	info, statErr := f.Stat()
	if err := errors.Join(err, statErr, f.Close()); err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrDiffers)
	}
	return &Agent{&Artifact{
		Name: name, SHA256: sum, Size: info.Size(), root: root, verified: true,
		stamp: stamp{Size: info.Size(), ModTime: info.ModTime().UnixNano(), SHA256: sum},
	}}, nil
}

// Hash is the digest as Ignition writes it.
func (a *Agent) Hash() string { return "sha256-" + a.SHA256 }

// Close ends the use of the file.
func (a *Agent) Close() error { return errors.Join(a.close(), a.root.Close()) }

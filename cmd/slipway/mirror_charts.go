package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-io/slipway/mirror/durable"
	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
)

// charts brings a plan's charts from one directory to another, which may be the same one, and makes sure that they are what the plan promises.
// Charts that are not here yet are said to be missing: they may come with another load.
func (m *mirror) charts(p *plan.Plan, from, to string) []plan.Failure {
	var failures []plan.Failure
	here, missing := 0, 0
	for _, chart := range p.Charts {
		raw, err := readChart(from, chart)
		if errors.Is(err, fs.ErrNotExist) {
			missing++
			continue
		}
		if err == nil && from != to && !m.dryRun {
			if err = os.MkdirAll(to, 0o755); err == nil {
				err = durable.Write(filepath.Join(to, chart.File), raw, 0o644)
			}
		}
		if err != nil {
			failures = append(failures, plan.Failure{Origin: chart.File, Category: plan.Helm, Error: err.Error()})
			continue
		}
		here++
	}
	if here > 0 {
		fmt.Fprintf(m.out, "%d charts: %s\n", here, to)
	}
	if missing > 0 {
		fmt.Fprintf(m.out, "%d charts are not here yet: carry %s\n", missing, from)
	}
	return failures
}

// readChart reads a chart's file and holds it against the plan. The directory may come from a disk of somebody else.
func readChart(dir string, chart plan.PlannedChart) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.Open(chart.File)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() != chart.Size {
		return nil, fmt.Errorf("chart %s is no plain file of %d bytes", chart.File, chart.Size)
	}
	raw, err := io.ReadAll(io.LimitReader(file, chart.Size))
	if err != nil {
		return nil, fmt.Errorf("read chart: %w", err)
	}
	if !remote.Matches(chart.Digest, raw) {
		return nil, fmt.Errorf("chart %s is not what its digest %s promises; copy it again", chart.File, chart.Digest)
	}
	return raw, nil
}

// Package helm resolves the charts of image sets, from repositories or from paths, and renders them for the images that they name.
package helm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"

	"github.com/slipway-io/slipway/mirror/imageset"
)

const (
	maxIndex = 64 << 20
	maxChart = 64 << 20
)

// ErrInvalid says that a repository or a chart is not what it should be.
var ErrInvalid = errors.New("helm")

// filePattern is what a chart's file may be named: NAME-VERSION.tgz, no path.
var filePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*-[0-9][0-9a-zA-Z.+-]*\.tgz$`)

// ValidFile tells whether name is a chart's file name and leads nowhere else.
func ValidFile(name string) bool { return len(name) <= 255 && filePattern.MatchString(name) }

// Reader resolves charts.
type Reader struct {
	// Dir keeps charts/NAME-VERSION.tgz and indexes/HOST/PATH/index.yaml, as oc-mirror does below working-dir/helm.
	Dir string
	// HTTP asks repositories; nil takes what Dir has and asks nobody.
	HTTP *http.Client
}

// Chart is a chart with the images that its templates name.
type Chart struct {
	Name, Version string
	// File in Dir/charts with its sha256 digest and its size in bytes; empty for a chart from a path, which stays where it is.
	File, Digest string
	Size         int64
	Images       []string
	Platforms    []imageset.Instance
}

// Failure is a chart, or a repository, that could not be read. Owner is its name.
type Failure struct {
	Origin, Owner string
	Err           error
}

// Resolve reads all charts of the set; root is where helm is in it. A path in the set that can't be honoured is an error, anything else a failure of its own.
func (r Reader) Resolve(ctx context.Context, set imageset.Helm, root string) ([]Chart, []Failure, error) {
	if err := checkPaths(set, root); err != nil {
		return nil, nil, err
	}
	var charts []Chart
	var failures []Failure
	for _, repository := range set.Repositories {
		found, failed := r.repository(ctx, repository)
		charts, failures = append(charts, found...), append(failures, failed...)
	}
	for _, local := range set.Local {
		one, err := readLocal(local)
		if err != nil {
			failures = append(failures, Failure{Origin: local.Path, Owner: local.Name, Err: err})
			continue
		}
		charts = append(charts, one)
	}
	return charts, failures, ctx.Err()
}

func checkPaths(set imageset.Helm, root string) error {
	check := func(at string, charts []imageset.Chart) error {
		for i, c := range charts {
			for j, path := range c.ImagePaths {
				if _, err := parsePath(path); err != nil {
					return fmt.Errorf("%w: %s[%d].imagePaths[%d]: %w", imageset.ErrInvalid, at, i, j, err)
				}
			}
		}
		return nil
	}
	for i, repository := range set.Repositories {
		if err := check(fmt.Sprintf("%s.repositories[%d].charts", root, i), repository.Charts); err != nil {
			return err
		}
	}
	return check(root+".local", set.Local)
}

// repository reads the wanted charts of a repository; of one without a list, every version of every chart that is no library.
func (r Reader) repository(ctx context.Context, repository imageset.Repository) ([]Chart, []Failure) {
	index, err := r.index(ctx, repository.URL)
	if err != nil {
		return nil, []Failure{{Origin: repository.URL, Owner: repository.Name, Err: err}}
	}
	var charts []Chart
	var failures []Failure
	for _, w := range index.wanted(repository.Charts) {
		one, err := r.chart(ctx, repository.URL, w)
		if err != nil {
			failures = append(failures, Failure{Origin: repository.URL + " " + w.chart.Name, Owner: w.chart.Name, Err: err})
		} else if one != nil {
			charts = append(charts, *one)
		}
	}
	return charts, failures
}

// chart brings one chart into the workspace and renders it. A library of a whole repository is nil: it has nothing to render.
func (r Reader) chart(ctx context.Context, base string, w wanted) (*Chart, error) {
	if w.err != nil {
		return nil, w.err
	}
	file := w.entry.Name + "-" + w.entry.Version + ".tgz"
	if !ValidFile(file) {
		return nil, fmt.Errorf("%w: %.200q is no name of a chart's file", ErrInvalid, file)
	}
	digest, size, err := r.fetch(ctx, base, w.entry, file)
	if err != nil {
		return nil, err
	}
	loaded, err := loader.LoadFile(filepath.Join(r.Dir, "charts", file))
	if err != nil {
		return nil, fmt.Errorf("load chart %s: %w", file, err)
	}
	if loaded.Metadata.Type == "library" && w.all {
		return nil, nil
	}
	images, err := imagesOf(loaded, w.chart.ImagePaths)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", file, err)
	}
	return &Chart{Name: w.entry.Name, Version: w.entry.Version, File: file, Digest: digest, Size: size, Images: images, Platforms: w.chart.Platforms}, nil
}

func readLocal(wish imageset.Chart) (Chart, error) {
	loaded, err := load(wish.Path)
	if err != nil {
		return Chart{}, fmt.Errorf("load chart %s: %w", wish.Path, err)
	}
	if wish.Version != "" && wish.Version != loaded.Metadata.Version {
		return Chart{}, fmt.Errorf("%w: chart %s is version %s, the image set wants %s", ErrInvalid, wish.Path, loaded.Metadata.Version, wish.Version)
	}
	images, err := imagesOf(loaded, wish.ImagePaths)
	if err != nil {
		return Chart{}, fmt.Errorf("chart %s: %w", wish.Path, err)
	}
	return Chart{Name: loaded.Metadata.Name, Version: loaded.Metadata.Version, Images: images, Platforms: slices.Clone(wish.Platforms)}, nil
}

func load(path string) (*chart.Chart, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() && info.Size() > maxChart {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrInvalid, maxChart)
	}
	return loader.Load(path)
}

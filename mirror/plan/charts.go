package plan

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-io/slipway/mirror/helm"
	"github.com/slipway-io/slipway/mirror/remote"
)

// PlannedChart is a chart's file, NAME-VERSION.tgz, its sha256 digest and its size in bytes.
type PlannedChart struct {
	File   string `json:"file"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// charts lists the images that the set's charts name. A chart that can't be read is a failure of its own.
func (b *builder) charts(ctx context.Context) ([]item, error) {
	reader := b.Charts
	if b.set.Delete {
		reader.HTTP = nil // no source is asked what to delete
	}
	charts, failures, err := reader.Resolve(ctx, b.set.Helm, b.root()+".helm")
	if err != nil {
		return nil, err
	}
	for _, f := range failures {
		b.fail(item{origin: f.Origin, category: Helm, owner: f.Owner}, f.Err)
	}
	var items []item
	seen := map[string]bool{}
	for _, chart := range charts {
		if chart.File != "" && !b.set.Delete {
			b.plan.Charts = append(b.plan.Charts, PlannedChart{File: chart.File, Digest: chart.Digest, Size: chart.Size})
		}
		for _, image := range chart.Images {
			key := image + fmt.Sprint(chart.Platforms)
			if seen[key] {
				continue
			}
			seen[key] = true
			it := item{origin: image, category: Helm, owner: chart.Name, platforms: chart.Platforms}
			if it.ref, err = remote.ParseReference(image); err != nil {
				b.fail(it, err)
				continue
			}
			it.repository, it.tag = b.path(it.ref.Repository), it.ref.Tag
			b.relocate(&it)
			items = append(items, it)
		}
	}
	slices.SortFunc(b.plan.Charts, func(a, c PlannedChart) int {
		return cmp.Or(cmp.Compare(a.File, c.File), cmp.Compare(a.Digest, c.Digest))
	})
	b.plan.Charts = slices.Compact(b.plan.Charts)
	return items, nil
}

func (p *Plan) checkCharts() error {
	for n, chart := range p.Charts {
		if !helm.ValidFile(chart.File) || !remote.ValidDigest(chart.Digest) || !strings.HasPrefix(chart.Digest, "sha256:") || chart.Size < 0 {
			return fmt.Errorf("%w: chart %.100q with digest %.100q", ErrInvalid, chart.File, chart.Digest)
		}
		if n > 0 && chart.File == p.Charts[n-1].File {
			return fmt.Errorf("%w: two charts are named %s; take them in image sets and workspaces of their own", ErrInvalid, chart.File)
		}
	}
	return nil
}

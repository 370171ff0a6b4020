//go:build integration

package registry

import (
	"fmt"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// TestIntegrationSharedLayersAreSentOnce pushes images that share three quarters of their bytes into repositories of their own,
// with programs that know nothing of it. The set is a tenth of the one that mirrors are measured with: 20 images, 4 times sharing.
func TestIntegrationSharedLayersAreSentOnce(t *testing.T) {
	const images, sharedBytes, ownBytes = 20, 10_300_000, 2_700_000
	for _, one := range all()[:3] {
		t.Run(one.name, func(t *testing.T) {
			c := newClients(t, "127.0.0.1", pushers(t))
			shared := must(random.Layer(sharedBytes, types.OCILayer))
			unique, all := int64(sharedBytes), int64(0)
			for n := range images {
				own := must(random.Layer(ownBytes, types.OCILayer))
				c.layout = filepath.Join(c.work, fmt.Sprint("layout", n))
				c.write(shared, own)
				c.folder, all, unique = fmt.Sprint("shared/app", n), all+sharedBytes+ownBytes, unique+ownBytes
				if err := one.push(c, true); err != nil {
					t.Fatal(err)
				}
			}
			sent := c.received.Load()
			t.Logf("%s: %d images of %.1f MB, %.1f MB of them unique: %.1f MB sent, %.3f of the unique bytes, %.3f of all", one.name,
				images, float64(all)/1e6, float64(unique)/1e6, float64(sent)/1e6, float64(sent)/float64(unique), float64(sent)/float64(all))
			if float64(sent) > 1.02*float64(unique) {
				t.Errorf("%d bytes were sent, more than 1.02 of %d", sent, unique)
			}
		})
	}
}

func (c *clients) write(layers ...v1.Layer) {
	c.t.Helper()
	image := must(mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, ociManifest), "application/vnd.oci.image.config.v1+json"), layers...))
	dir := must(layout.Write(c.layout, empty.Index))
	if err := dir.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1"})); err != nil {
		c.t.Fatal(err)
	}
}

package resources

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-io/slipway/mirror/plan"
)

var update = flag.Bool("update", false, "write the golden files")

func sample() *plan.Plan {
	digest := "sha256:" + strings.Repeat("a", 64)
	return &plan.Plan{
		Signatures: map[string][][]byte{digest: {[]byte("signature")}},
		Images: []plan.Image{
			{Origin: "quay.io/tools/shell:v1", Category: plan.Additional, Source: "quay.io/tools/shell", Repository: "tools/shell", Tag: "v1", Digest: digest},
			{Origin: "quay.io/tools/other@" + digest, Category: plan.Additional, Source: "quay.io/tools/other", Repository: "tools/other", Tag: "x", Digest: digest},
			{Origin: "docker.io/library/busybox:1", Category: plan.Additional, Source: "docker.io/library/busybox", Repository: "small/box", Tag: "1", Digest: digest},
			{Origin: "quay.io/tools/gone:v1", Category: plan.Additional, Source: "quay.io/gone/gone", Repository: "gone/gone", Tag: "v1", Digest: "sha256:" + strings.Repeat("b", 64)},
			{Origin: "quay.io/tools/shell@" + digest, Subject: digest, Source: "quay.io/tools/shell", Repository: "tools/shell", Digest: digest},
			{Origin: "quay.io/openshift-release-dev/ocp-release@" + digest, Category: plan.Release, Role: plan.Payload, Source: "quay.io/openshift-release-dev/ocp-release",
				Repository: "openshift/release-images", Tag: "4.18.1-x86_64", Digest: digest},
			{Origin: "quay.io/openshift-release-dev/ocp-v4.0-art-dev@" + digest, Category: plan.Release, Source: "quay.io/openshift-release-dev/ocp-v4.0-art-dev",
				Repository: "openshift/release", Tag: "4.18.1-x86_64-etcd", Digest: digest},
			{Origin: "quay.io/graph:1", Category: plan.Release, Role: plan.Graph, Source: "quay.io/graph", Repository: "openshift/graph-image", Tag: "latest", Digest: digest},
			{Origin: "registry.redhat.io/redhat/redhat-operator-index:v4.18", Category: plan.Operator, Role: plan.Catalog, Source: "registry.redhat.io/redhat/redhat-operator-index",
				Repository: "redhat/redhat-operator-index", Tag: "v4.18", Digest: digest, Template: "kind: CatalogSource\nmetadata: {name: mine, labels: {a: b}}\nspec: {displayName: Red Hat, image: x}\n"},
			{Origin: "registry.redhat.io/lvms4/lvms@" + digest, Category: plan.Operator, Source: "registry.redhat.io/lvms4/lvms", Repository: "lvms4/lvms", Tag: "y", Digest: digest},
		},
	}
}

func TestGoldens(t *testing.T) {
	there := func(image plan.Image) bool { return image.Digest == "sha256:"+strings.Repeat("a", 64) }
	for name, o := range map[string]Options{
		"namespaces":   {Host: "reg.local:5000", Namespace: "site"},
		"repositories": {Host: "[fd07::2]:5000", Repositories: true, Apart: true},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := Render(sample(), there, o)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join("testdata", name)
			if *update {
				if err := Write(dir, files); err != nil {
					t.Fatal(err)
				}
			}
			var golden []string
			err = filepath.WalkDir(dir, func(file string, entry os.DirEntry, err error) error {
				if err == nil && !entry.IsDir() {
					golden = append(golden, strings.TrimPrefix(filepath.ToSlash(file), "testdata/"+name+"/"))
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(golden)
			if made := slices.Sorted(maps.Keys(files)); !slices.Equal(made, golden) {
				t.Fatalf("made %v, want %v", made, golden)
			}
			for file, data := range files {
				if want, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(want) != string(data) {
					t.Errorf("%s differs from its golden file (%v):\n%s", file, err, data)
				}
			}
		})
	}
}

func TestWriteTakesAwayWhatIsNoLongerMade(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, map[string][]byte{"a.yaml": []byte("1"), "certs.d/x/hosts.toml": []byte("2")}); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, map[string][]byte{"a.yaml": []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "certs.d/x/hosts.toml")); !os.IsNotExist(err) {
		t.Errorf("stale file: %v", err)
	}
}

package imageset

import (
	"errors"
	"strings"
	"testing"
)

const whole = `apiVersion: mirror.openshift.io/v2alpha1
kind: ImageSetConfiguration
archiveSize: 4
mirror:
  platform:
    graph: true
    kubeVirtContainer: true
    platforms: [{os: linux, architecture: amd64}]
    channels: [{name: stable-4.18, type: ocp, minVersion: 4.18.1, maxVersion: 4.18.20, shortestPath: true}]
  operators:
  - catalog: registry.redhat.io/redhat/redhat-operator-index:v4.18
    targetCatalog: olm/rh-index
    targetTag: v4.18
    packages:
    - {name: lvms-operator, defaultChannel: stable-4.18, channels: [{name: stable-4.18, minVersion: 4.18.0}]}
  additionalImages: [{name: "quay.io/a/b:v1", targetRepo: tools/b, targetTag: prod}]
  blockedImages: [{name: ".*/debug-.*"}]
`

func TestWhole(t *testing.T) {
	set, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if set.ArchiveSize != 4 || set.Delete || set.Platform.Channels[0].MaxVersion != "4.18.20" || set.Operators[0].Packages[0].Channels[0].MinVersion != "4.18.0" {
		t.Errorf("read %+v", set)
	}
	if !set.Blocks("quay.io/x/debug-tools:1", "x") || !set.Blocks("x", "reg/x/debug-tools") || set.Blocks("quay.io/x/tools", "reg/x/tools") {
		t.Error("blocked images are not matched as written")
	}
}

func TestRefused(t *testing.T) {
	const head = "apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\nmirror:\n"
	for name, c := range map[string]struct{ text, want string }{
		"unknown field":            {head + "  platform: {chanels: []}\n", `mirror.platform.chanels`},
		"unknown deep":             {head + "  operators: [{catalog: a/b, packages: [{name: x, channel: y}]}]\n", `mirror.operators[0].packages[0].channel`},
		"twice":                    {head + "  platform: {}\n  platform: {}\n", `"platform" already set`},
		"other version":            {"apiVersion: mirror.openshift.io/v1alpha2\nkind: ImageSetConfiguration\nmirror: {}\n", "v2alpha1"},
		"no kind":                  {"apiVersion: mirror.openshift.io/v2alpha1\nmirror: {}\n", `kind is ""`},
		"delete in mirror":         {head + "  platform: {}\ndelete: {}\n", "below mirror:"},
		"both architectures":       {head + "  platform: {architectures: [amd64], platforms: [{os: linux, architecture: amd64}]}\n", "mirror.platform.platforms"},
		"wrong architecture":       {head + "  platform: {architectures: [x86_64]}\n", "mirror.platform.architectures[0]"},
		"version":                  {head + "  platform: {channels: [{name: a, minVersion: four}]}\n", "mirror.platform.channels[0].minVersion"},
		"versions swapped":         {head + "  platform: {channels: [{name: a, minVersion: 4.2.0, maxVersion: 4.1.0}]}\n", "mirror.platform.channels[0].minVersion"},
		"channel twice":            {head + "  platform: {channels: [{name: a}, {name: a}]}\n", "mirror.platform.channels[1].name"},
		"samples":                  {head + "  samples: [{name: x}]\n", "mirror.samples"},
		"expression":               {head + "  blockedImages: [{name: '*'}]\n", "mirror.blockedImages[0].name"},
		"target with tag":          {head + "  operators: [{catalog: a/b, targetCatalog: 'x:y'}]\n", "mirror.operators[0].targetCatalog"},
		"empty image":              {head + "  additionalImages: [{targetTag: x}]\n", "mirror.additionalImages[0].name"},
		"size":                     {head + "  platform: {}\narchiveSize: -1\n", "archiveSize"},
		"directory without a name": {head + "  operators: [{catalog: \"oci://\"}]\n", "mirror.operators[0].catalog"},
		"directory, odd name":      {head + "  additionalImages: [{name: \"oci:///srv/My Images\"}]\n", "targetRepo"},
		"mixed versions":           {head + "  operators: [{catalog: a/b, packages: [{name: x, minVersion: 1.0.0, channels: [{name: a}]}]}]\n", "mirror.operators[0].packages[0]"},
		"blocked where delete":     {"apiVersion: mirror.openshift.io/v2alpha1\nkind: DeleteImageSetConfiguration\ndelete: {blockedImages: [{name: x}]}\n", "delete.blockedImages"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want ErrInvalid with %q", err, c.want)
			}
		})
	}
}

func FuzzImageSet(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("apiVersion: mirror.openshift.io/v2alpha1\nkind: DeleteImageSetConfiguration\ndelete:\n  additionalImages: [{name: a/b}]\n"))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		set, err := Parse(raw)
		if (set == nil) == (err == nil) {
			t.Fatalf("set %v with error %v", set, err)
		}
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatalf("error %v is not ErrInvalid", err)
		}
	})
}

const head = "apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\n"

func TestHelm(t *testing.T) {
	set, err := Parse([]byte(head + `mirror: {helm: {repositories: [{name: r, url: "https://charts.example.com/x", charts: [{name: a, version: 1.0.0, imagePaths: ["{.spec.x}"]}]}], local: [{name: b, path: ./b.tgz}]}}`))
	if err != nil || set.Helm.Local[0].Path != "./b.tgz" || set.Helm.Repositories[0].Charts[0].ImagePaths[0] != "{.spec.x}" {
		t.Errorf("%+v, %v", set, err)
	}
	for text, path := range map[string]string{
		`repositories: [{url: "oci://quay.io/charts"}]`:                                  "mirror.helm.repositories[0].url",
		`repositories: [{url: "file:///charts"}]`:                                        "mirror.helm.repositories[0].url",
		`repositories: [{url: "https://ann:secret@charts.example.com"}]`:                 "mirror.helm.repositories[0].url",
		`repositories: [{url: "https://a.example.com"}, {url: "https://a.example.com"}]`: "mirror.helm.repositories[1].url",
		`repositories: [{url: "https://a.example.com", charts: [{version: 1.0.0}]}]`:     "mirror.helm.repositories[0].charts[0].name",
		`repositories: [{url: "https://a.example.com", charts: [{name: a, path: b}]}]`:   "mirror.helm.repositories[0].charts[0].path",
		`local: [{name: a}]`: "mirror.helm.local[0].path",
		`local: [{name: a, path: b, platforms: [{os: linux}]}]`: "mirror.helm.local[0].platforms[0]",
	} {
		_, err := Parse([]byte(head + "mirror: {helm: {" + text + "}}"))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

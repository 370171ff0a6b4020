package catalog

import (
	"errors"
	"strings"
	"testing"

	"github.com/slipway-io/slipway/mirror/imageset"
)

const sample = `---
schema: olm.package
name: lvms
defaultChannel: stable-2
---
schema: olm.channel
package: lvms
name: stable-1
entries: [{name: lvms.v1.0.0}, {name: lvms.v1.1.0, replaces: lvms.v1.0.0}]
---
schema: olm.channel
package: lvms
name: stable-2
entries: [{name: lvms.v1.1.0}, {name: lvms.v2.0.0, replaces: lvms.v1.1.0, skips: [lvms.v1.5.0]}, {name: lvms.v2.1.0, replaces: lvms.v2.0.0}]
---
schema: olm.deprecations
package: lvms
entries: [{reference: {schema: olm.bundle, name: lvms.v1.0.0}, message: old}, {reference: {schema: olm.channel, name: stable-1}, message: old}]
---
schema: olm.package
name: other
defaultChannel: a
---
schema: olm.channel
package: other
name: a
entries: [{name: other.v1.0.0}]
---
{schema: olm.bundle, package: other, name: other.v1.0.0, image: "q.io/other:1", properties: [{type: olm.package, value: {packageName: other, version: 1.0.0}}]}
`

func bundleJSON(version string) string {
	return `{"schema":"olm.bundle","package":"lvms","name":"lvms.v` + version + `","image":"q.io/bundle@sha256:` + version +
		`","relatedImages":[{"name":"x","image":"q.io/operand:` + version + `"},{"image":""},{"image":"q.io/bundle@sha256:` + version + `"}],"properties":[{"type":"olm.package","value":{"packageName":"lvms","version":"` + version + `"}}]}` + "\n"
}

func read(t testing.TB) []Object {
	t.Helper()
	all := func(string) bool { return true }
	objects, err := Read("catalog.yaml", strings.NewReader(sample), all)
	if err != nil {
		t.Fatal(err)
	}
	more, err := Read("lvms/bundles.json", strings.NewReader(bundleJSON("1.0.0")+bundleJSON("1.1.0")+bundleJSON("2.0.0")+bundleJSON("2.1.0")), all)
	if err != nil {
		t.Fatal(err)
	}
	return append(objects, more...)
}

func TestFilter(t *testing.T) {
	objects := read(t)
	for name, c := range map[string]struct {
		o    imageset.Operator
		want string // bundles
	}{
		"everything":         {imageset.Operator{Full: true}, "lvms.v1.0.0 lvms.v1.1.0 lvms.v2.0.0 lvms.v2.1.0 other.v1.0.0"},
		"heads":              {imageset.Operator{}, "lvms.v2.1.0 other.v1.0.0"},
		"package":            {imageset.Operator{Packages: []imageset.Package{{Name: "lvms"}}}, "lvms.v2.1.0"},
		"package, full":      {imageset.Operator{Full: true, Packages: []imageset.Package{{Name: "lvms"}}}, "lvms.v1.0.0 lvms.v1.1.0 lvms.v2.0.0 lvms.v2.1.0"},
		"from":               {imageset.Operator{Packages: []imageset.Package{{Name: "lvms", MinVersion: "2.0.0"}}}, "lvms.v2.0.0 lvms.v2.1.0"},
		"to":                 {imageset.Operator{Packages: []imageset.Package{{Name: "lvms", MaxVersion: "2.0.0"}}}, "lvms.v1.1.0 lvms.v2.0.0"},
		"other channel":      {imageset.Operator{Packages: []imageset.Package{{Name: "lvms", DefaultChannel: "stable-1", Channels: []imageset.PackageChannel{{Name: "stable-1"}}}}}, "lvms.v1.1.0"},
		"channels":           {imageset.Operator{Packages: []imageset.Package{{Name: "lvms", Channels: []imageset.PackageChannel{{Name: "stable-1"}, {Name: "stable-2", MinVersion: "2.0.0", MaxVersion: "2.0.0"}}}}}, "lvms.v1.1.0 lvms.v2.0.0"},
		"channel, full":      {imageset.Operator{Full: true, Packages: []imageset.Package{{Name: "lvms", Channels: []imageset.PackageChannel{{Name: "stable-2"}}}}}, "lvms.v1.1.0 lvms.v2.0.0 lvms.v2.1.0"},
		"no such package":    {imageset.Operator{Packages: []imageset.Package{{Name: "none"}}}, "! mirror.operators[0].packages[0].name"},
		"no such channel":    {imageset.Operator{Packages: []imageset.Package{{Name: "lvms", Channels: []imageset.PackageChannel{{Name: "x"}}}}}, "! only stable-1, stable-2"},
		"no such version":    {imageset.Operator{Packages: []imageset.Package{{Name: "lvms", MinVersion: "9.0.0"}}}, "! no version from"},
		"default is dropped": {imageset.Operator{Packages: []imageset.Package{{Name: "lvms", Channels: []imageset.PackageChannel{{Name: "stable-1"}}}}}, "! mirror.operators[0].packages[0].defaultChannel"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Filter(objects, c.o, "mirror.operators[0]")
			if refused, ok := strings.CutPrefix(c.want, "! "); ok {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), refused) {
					t.Errorf("got %v, want %q", err, refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var bundles []string
			for _, image := range f.Images {
				if len(bundles) == 0 || bundles[len(bundles)-1] != image.Bundle {
					bundles = append(bundles, image.Bundle)
				}
			}
			if got := strings.Join(bundles, " "); got != c.want {
				t.Errorf("kept %s, want %s", got, c.want)
			}
			again(t, f)
		})
	}
}

// again reads what was written: it must be a catalog of the same bundles with one head per channel.
func again(t *testing.T, f *Filtered) {
	t.Helper()
	for file, data := range f.Files {
		objects, err := Read(file, strings.NewReader(string(data)), func(string) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		packages, err := sortPackages(objects)
		if err != nil || len(packages) != 1 {
			t.Fatalf("%s: %d packages, %v", file, len(packages), err)
		}
		for _, p := range packages {
			for _, c := range p.channels {
				if heads := p.heads(c.entries); len(heads) != 1 {
					t.Errorf("channel %s has heads %v", c.name, heads)
				}
			}
			for _, o := range p.others {
				if strings.Contains(string(o.Raw), "v1.0.0") && p.bundles["lvms.v1.0.0"].raw == nil {
					t.Errorf("deprecation of what is gone: %s", o.Raw)
				}
			}
		}
	}
}

func FuzzCatalog(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(bundleJSON("1.0.0")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		objects, err := Read("x.yaml", strings.NewReader(string(raw)), func(string) bool { return true })
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v is not ErrInvalid", err)
			}
			return
		}
		_, _ = Filter(objects, imageset.Operator{Full: true}, "x")
		_, _ = Filter(objects, imageset.Operator{}, "x")
	})
}

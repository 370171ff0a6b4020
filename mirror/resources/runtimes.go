package resources

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/slipway-io/slipway/mirror/plan"
)

// runtimes makes registries.conf (podman, CRI-O, skopeo) and containerd's hosts.toml of each source host.
func (r *renderer) runtimes(images []plan.Image, byDigest, byTag map[string][]Mapping) {
	digests, tags := bySource(slices.Concat(byDigest["generic"], byDigest["operator"], byDigest["release"])),
		bySource(slices.Concat(byTag["generic"], byTag["operator"], byTag["release"]))
	if len(digests)+len(tags) == 0 {
		return
	}
	sources := map[string]bool{}
	for source := range digests {
		sources[source] = true
	}
	for source := range tags {
		sources[source] = true
	}
	var conf strings.Builder
	conf.WriteString("# Mirrors of " + path.Join(r.Host, r.Namespace) + ", in the format of containers-registries.conf(5), version 2.\n")
	for _, source := range slices.Sorted(maps.Keys(sources)) {
		fmt.Fprintf(&conf, "\n[[registry]]\nprefix = \"\"\nlocation = %q\n", source)
		for _, kind := range []struct {
			pull    string
			mirrors []string
		}{{"digest-only", digests[source]}, {"tag-only", tags[source]}} {
			for _, mirror := range slices.Compact(slices.Sorted(slices.Values(kind.mirrors))) {
				fmt.Fprintf(&conf, "\n[[registry.mirror]]\nlocation = %q\npull-from-mirror = %q\n", mirror, kind.pull)
			}
		}
	}
	r.files["registries.conf"] = []byte(conf.String())
	r.containerd(images)
}

// containerd knows mirrors of hosts alone: they serve repositories that keep their path, below a path of the mirror.
func (r *renderer) containerd(images []plan.Image) {
	type found struct {
		prefixes map[string]bool
		moved    map[string]string
	}
	hosts := map[string]*found{}
	for _, image := range images {
		if image.Role == plan.Catalog || image.Role == plan.Graph || image.FromDirectory() {
			continue
		}
		host, sourcePath, _ := strings.Cut(image.Source, "/")
		f := hosts[host]
		if f == nil {
			f = &found{prefixes: map[string]bool{}, moved: map[string]string{}}
			hosts[host] = f
		}
		target := path.Join(r.Namespace, image.Repository)
		if prefix, kept := strings.CutSuffix("/"+target, "/"+sourcePath); kept {
			f.prefixes[prefix] = true
		} else {
			f.moved[image.Source] = r.target(image.Repository)
		}
	}
	for host, f := range hosts {
		var text strings.Builder
		server := host
		if host == "docker.io" {
			server = "registry-1.docker.io"
		}
		fmt.Fprintf(&text, "server = %q\n", "https://"+server)
		for _, prefix := range slices.Sorted(maps.Keys(f.prefixes)) {
			fmt.Fprintf(&text, "\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n", "https://"+r.Host+"/v2"+prefix)
		}
		for _, source := range slices.Sorted(maps.Keys(f.moved)) {
			fmt.Fprintf(&text, "\n# %s is at %s: containerd can't be told of a repository with another path, name it there.\n", source, f.moved[source])
		}
		r.files["certs.d/"+host+"/hosts.toml"] = []byte(text.String())
	}
}

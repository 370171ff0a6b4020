package imageset

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// maxArchiveSize in GiB is what a size in bytes can express with room to spare.
const maxArchiveSize = 1 << 20

var (
	architectures = []string{"amd64", "arm64", "ppc64le", "s390x", "multi"}
	pathPattern   = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern    = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// checker collects problems, each with the path where it is.
type checker struct {
	problems []string
}

func (c *checker) add(path, format string, args ...any) {
	c.problems = append(c.problems, path+": "+fmt.Sprintf(format, args...))
}

func check(set *Set) []string {
	c := &checker{}
	root := "mirror"
	if set.Delete {
		root = "delete"
		if set.ArchiveSize != 0 {
			c.add("archiveSize", "has no meaning where images are deleted; take it out")
		}
		if len(set.BlockedImages) > 0 {
			c.add("delete.blockedImages", "has no meaning where images are deleted; take it out")
		}
	}
	if set.ArchiveSize < 0 || set.ArchiveSize > maxArchiveSize {
		c.add("archiveSize", "is %d, want 1 to %d GiB, or 0 for the default", set.ArchiveSize, maxArchiveSize)
	}
	if len(set.Samples) > 0 {
		c.add(root+".samples", "can't be honoured: no mirror tool fetches samples; name their images in additionalImages")
	}
	c.platform(root+".platform", set.Platform)
	seen := map[string]bool{}
	for i, operator := range set.Operators {
		path := fmt.Sprintf("%s.operators[%d]", root, i)
		c.operator(path, operator)
		key := operator.Catalog + " " + operator.TargetCatalog + " " + operator.TargetTag
		if seen[key] {
			c.add(path+".catalog", "%s is there twice with the same target", operator.Catalog)
		}
		seen[key] = true
	}
	for i, image := range set.AdditionalImages {
		c.image(fmt.Sprintf("%s.additionalImages[%d]", root, i), image)
	}
	c.helm(root+".helm", set.Helm)
	for i, blocked := range set.BlockedImages {
		if _, err := regexp.Compile(blocked.Name); err != nil || blocked.Name == "" {
			c.add(fmt.Sprintf("%s.blockedImages[%d].name", root, i), "%q is no regular expression", blocked.Name)
		}
	}
	return c.problems
}

func (c *checker) platform(path string, p Platform) {
	if len(p.Architectures) > 0 && len(p.Platforms) > 0 {
		c.add(path+".platforms", "can't go with architectures; take one of them out")
	}
	for i, architecture := range p.Architectures {
		if !slices.Contains(architectures, architecture) {
			c.add(fmt.Sprintf("%s.architectures[%d]", path, i), "is %q, want one of %s", architecture, strings.Join(architectures, ", "))
		}
	}
	c.platforms(path+".platforms", p.Platforms)
	if p.Release != "" && len(p.Channels) > 0 {
		c.add(path+".release", "can't go with channels; take one of them out")
	}
	if (p.Graph || p.KubeVirtContainer) && p.Release == "" && len(p.Channels) == 0 {
		c.add(path, "graph and kubeVirtContainer want channels or a release")
	}
	seen := map[string]bool{}
	for i, channel := range p.Channels {
		at := fmt.Sprintf("%s.channels[%d]", path, i)
		if channel.Name == "" || seen[channel.Name] {
			c.add(at+".name", "%q is empty or there twice", channel.Name)
		}
		seen[channel.Name] = true
		if channel.Type != "" && channel.Type != "ocp" && channel.Type != "okd" {
			c.add(at+".type", "is %q, want ocp or okd", channel.Type)
		}
		if channel.Full && (channel.MinVersion != "" || channel.MaxVersion != "" || channel.ShortestPath) {
			c.add(at+".full", "can't go with minVersion, maxVersion or shortestPath")
		}
		c.versions(at, channel.MinVersion, channel.MaxVersion)
	}
}

func (c *checker) operator(path string, o Operator) {
	if o.Catalog == "" {
		c.add(path+".catalog", "is empty")
	}
	c.directory(path+".catalog", o.Catalog, "targetCatalog", o.TargetCatalog)
	c.target(path, "targetCatalog", o.TargetCatalog, o.TargetTag)
	c.platforms(path+".platforms", o.Platforms)
	seen := map[string]bool{}
	for i, pkg := range o.Packages {
		at := fmt.Sprintf("%s.packages[%d]", path, i)
		if pkg.Name == "" || seen[pkg.Name] {
			c.add(at+".name", "%q is empty or there twice", pkg.Name)
		}
		seen[pkg.Name] = true
		if len(pkg.Channels) > 0 && (pkg.MinVersion != "" || pkg.MaxVersion != "") {
			c.add(at, "has versions of its own and channels; give the versions in the channels")
		}
		c.versions(at, pkg.MinVersion, pkg.MaxVersion)
		channels := map[string]bool{}
		for j, channel := range pkg.Channels {
			in := fmt.Sprintf("%s.channels[%d]", at, j)
			if channel.Name == "" || channels[channel.Name] {
				c.add(in+".name", "%q is empty or there twice", channel.Name)
			}
			channels[channel.Name] = true
			c.versions(in, channel.MinVersion, channel.MaxVersion)
		}
	}
}

func (c *checker) image(path string, image Image) {
	if image.Name == "" {
		c.add(path+".name", "is empty")
	}
	c.directory(path+".name", image.Name, "targetRepo", image.TargetRepo)
	c.target(path, "targetRepo", image.TargetRepo, image.TargetTag)
	c.platforms(path+".platforms", image.Platforms)
}

// directory checks a reference to an OCI layout on the disk. Without a target it is named like the directory's last part.
func (c *checker) directory(path, reference, key, target string) {
	if !strings.HasPrefix(reference, "oci:") {
		return
	}
	dir, found := strings.CutPrefix(reference, "oci://")
	if !found || dir == "" {
		c.add(path, "%s: want oci://directory", reference)
		return
	}
	dir, _, _ = strings.Cut(strings.TrimRight(dir, "/"), "@")
	name, _, _ := strings.Cut(dir[strings.LastIndexByte(dir, '/')+1:], ":")
	if target == "" && !pathPattern.MatchString(name) {
		c.add(path, "%s: %q is no repository path; say with %s where it goes", reference, name, key)
	}
}

func (c *checker) target(path, key, repository, tag string) {
	if repository != "" && !pathPattern.MatchString(repository) {
		c.add(path+"."+key, "%q is no repository path", repository)
	}
	if tag != "" && !tagPattern.MatchString(tag) {
		c.add(path+".targetTag", "%q is no tag", tag)
	}
}

func (c *checker) platforms(path string, platforms []Instance) {
	for i, platform := range platforms {
		if platform.OS == "" || platform.Architecture == "" {
			c.add(fmt.Sprintf("%s[%d]", path, i), "wants os and architecture")
		}
	}
}

func (c *checker) versions(path, low, high string) {
	var parsed []*semver.Version
	for _, bound := range []struct{ key, version string }{{"minVersion", low}, {"maxVersion", high}} {
		if bound.version == "" {
			continue
		}
		v, err := semver.StrictNewVersion(bound.version)
		if err != nil {
			c.add(path+"."+bound.key, "%q is no semantic version", bound.version)
			continue
		}
		parsed = append(parsed, v)
	}
	if len(parsed) == 2 && parsed[0].GreaterThan(parsed[1]) {
		c.add(path+".minVersion", "%s is above maxVersion %s", low, high)
	}
}

func (c *checker) helm(path string, helm Helm) {
	seen := map[string]bool{}
	for i, repository := range helm.Repositories {
		at := fmt.Sprintf("%s.repositories[%d]", path, i)
		address, err := url.Parse(repository.URL)
		switch {
		case strings.HasPrefix(repository.URL, "oci:"):
			c.add(at+".url", "charts in registries have no index and can't be honoured; pull the chart and name its file in %s.local", path)
		case err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Host == "":
			c.add(at+".url", "want http:// or https:// and a host")
		case address.User != nil:
			c.add(at+".url", "holds a password, and repositories with a login can't be honoured; pull the chart and name its file in %s.local", path)
		case address.RawQuery != "" || address.Fragment != "":
			c.add(at+".url", "has more than a path; index.yaml is looked for below it")
		case seen[repository.URL]:
			c.add(at+".url", "is there twice; put the charts together")
		}
		seen[repository.URL] = true
		for j, chart := range repository.Charts {
			in := fmt.Sprintf("%s.charts[%d]", at, j)
			if chart.Name == "" {
				c.add(in+".name", "is empty")
			}
			if chart.Path != "" {
				c.add(in+".path", "has no meaning in a repository; charts from paths go below %s.local", path)
			}
			c.platforms(in+".platforms", chart.Platforms)
		}
	}
	for i, chart := range helm.Local {
		at := fmt.Sprintf("%s.local[%d]", path, i)
		if chart.Path == "" {
			c.add(at+".path", "is empty; want a chart's directory or .tgz")
		}
		c.platforms(at+".platforms", chart.Platforms)
	}
}

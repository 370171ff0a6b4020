package helm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/util/jsonpath"
	"sigs.k8s.io/yaml"

	"github.com/slipway-io/slipway/mirror/remote"
)

// defaultPaths are where oc-mirror looks in every object, and where a CronJob has its containers, which it misses.
var defaultPaths = [...]string{
	"{.spec.template.spec.initContainers[*].image}",
	"{.spec.template.spec.containers[*].image}",
	"{.spec.initContainers[*].image}",
	"{.spec.containers[*].image}",
	"{.spec.jobTemplate.spec.template.spec.initContainers[*].image}",
	"{.spec.jobTemplate.spec.template.spec.containers[*].image}",
}

// imagePath is a JSONPath at which images are named. Values of environment variables are images only where they look like one.
type imagePath struct {
	*jsonpath.JSONPath
	anyValue bool
}

func parsePath(text string) (imagePath, error) {
	p := imagePath{JSONPath: jsonpath.New("image").AllowMissingKeys(true)}
	if !strings.HasPrefix(text, "{") {
		text = "{" + text + "}"
	}
	p.anyValue = strings.HasSuffix(strings.TrimRight(text, " }"), ".value")
	if err := p.Parse(text); err != nil {
		return p, fmt.Errorf("%.200q is no JSONPath: %w", text, err)
	}
	return p, nil
}

// imagesOf renders a chart with its own values, and lists the images at the default paths and at those of the set, sorted.
func imagesOf(c *chart.Chart, paths []string) ([]string, error) {
	var parsed []imagePath
	for _, text := range slices.Concat(defaultPaths[:], paths) {
		p, err := parsePath(text)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, p)
	}
	files, err := render(c)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if base := path.Base(name); strings.HasSuffix(base, ".txt") || strings.HasPrefix(base, "_") {
			continue
		}
		if err := readObjects(files[name], parsed, found); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// render does what helm template does: conditions, tags and aliases of dependencies count.
func render(c *chart.Chart) (map[string]string, error) {
	values := chartutil.Values{}
	if err := chartutil.ProcessDependenciesWithMerge(c, values); err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	options := chartutil.ReleaseOptions{Name: c.Name(), Namespace: "default", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, values, options, chartutil.DefaultCapabilities.Copy())
	if err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, fmt.Errorf("render with the chart's own values: %w", err)
	}
	for _, crd := range c.CRDObjects() {
		files[crd.Filename] = string(crd.File.Data)
	}
	return files, nil
}

func readObjects(text string, paths []imagePath, found map[string]bool) error {
	documents := kyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		raw, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var object any
		if err := yaml.Unmarshal(raw, &object); err != nil {
			return err
		}
		if err := readObject(object, paths, found); err != nil {
			return err
		}
	}
}

func readObject(object any, paths []imagePath, found map[string]bool) error {
	fields, ok := object.(map[string]any)
	if !ok {
		return nil
	}
	if items, ok := fields["items"].([]any); ok && strings.HasSuffix(fmt.Sprint(fields["kind"]), "List") {
		for _, item := range items {
			if err := readObject(item, paths, found); err != nil {
				return err
			}
		}
	}
	for _, p := range paths {
		results, err := p.FindResults(object)
		if err != nil {
			continue // the object has something else at this path
		}
		for _, result := range results {
			for _, value := range result {
				text, ok := value.Interface().(string)
				if !ok || text == "" || p.anyValue && !looksLikeImage(text) {
					continue
				}
				if _, err := remote.ParseReference(text); err != nil {
					return fmt.Errorf("image %.200q of %v: %w", text, fields["kind"], err)
				}
				found[text] = true
			}
		}
	}
	return nil
}

// looksLikeImage: a host or a folder, and a tag or a digest. Everything else that stands in a variable may be anything.
func looksLikeImage(text string) bool {
	ref, err := remote.ParseReference(text)
	return err == nil && strings.Contains(text, "/") && (ref.Digest != "" || strings.HasSuffix(text, ":"+ref.Tag))
}

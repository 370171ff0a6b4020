package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-io/slipway/mirror/imageset"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      initContainers: [{image: "{{ .Values.image }}-init:v1"}]
      containers:
      - image: "{{ .Values.image }}:{{ .Chart.AppVersion }}"
        env:
        - {name: OPERAND, value: quay.io/team/operand:v7}
        - {name: ADDRESS, value: "http://else.example.com:80/x"}
        - {name: WORD, value: "true"}
{{- if .Values.extra }}
---
apiVersion: v1
kind: Pod
spec: {containers: [{image: quay.io/team/extra:v1}]}
{{- end }}
---
apiVersion: batch/v1
kind: CronJob
spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: quay.io/team/job:v1}]}}}}}
---
apiVersion: v1
kind: List
items: [{kind: Pod, spec: {containers: [{image: quay.io/team/listed:v1}]}}]
---
apiVersion: example.com/v1
kind: Thing
spec: {image: quay.io/team/thing:v1, containers: none}
`

// pack makes a chart's file.
func pack(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var raw bytes.Buffer
	zip := gzip.NewWriter(&raw)
	w := tar.NewWriter(zip)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}

func app(t *testing.T, version string) []byte {
	t.Helper()
	return pack(t, map[string]string{
		"app/Chart.yaml":                    "apiVersion: v2\nname: app\nversion: " + version + "\nappVersion: v9\ndependencies: [{name: sub, version: 1.0.0, alias: other}]\n",
		"app/values.yaml":                   "image: quay.io/team/app\nextra: false\nother: {tag: v3}\n",
		"app/templates/app.yaml":            deployment,
		"app/templates/NOTES.txt":           "spec: {containers: [{image: quay.io/no/note:v1}]}",
		"app/charts/sub/Chart.yaml":         "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
		"app/charts/sub/values.yaml":        "tag: v2\n",
		"app/charts/sub/templates/pod.yaml": "kind: Pod\nspec: {containers: [{image: \"quay.io/team/sub:{{ .Values.tag }}\"}]}\n",
	})
}

var appImages = []string{"quay.io/team/app-init:v1", "quay.io/team/app:v9", "quay.io/team/job:v1", "quay.io/team/listed:v1", "quay.io/team/sub:v3"}

// repository serves charts and counts what is asked of it, by path.
func repository(t *testing.T, files map[string][]byte) (url string, asked func(path string) int) {
	t.Helper()
	var mu sync.Mutex
	counts := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		counts[r.URL.Path]++
		mu.Unlock()
		if data, ok := files[r.URL.Path]; ok {
			_, _ = w.Write(data)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/stable", func(path string) int {
		mu.Lock()
		defer mu.Unlock()
		return counts[path]
	}
}

func TestRepository(t *testing.T) {
	first, second := app(t, "1.0.0"), app(t, "1.2.0")
	library := pack(t, map[string]string{"lib/Chart.yaml": "apiVersion: v2\nname: lib\nversion: 1.0.0\ntype: library\n"})
	index := `apiVersion: v1
entries:
  app:
  - {name: app, version: 1.0.0, urls: [app-1.0.0.tgz], digest: ` + hexDigest(first) + `}
  - {name: app, version: 1.2.0, urls: [../files/app.tgz]}
  - {name: app, version: 2.0.0-rc.1, urls: [app-2.tgz]}
  - {name: broken, version: 9.0.0, urls: [broken.tgz]}
  lib: [{name: lib, version: 1.0.0, type: library, urls: [lib.tgz]}]
  bad: [{name: bad, version: 1.0.0, urls: [app-1.0.0.tgz], digest: "00"}]
`
	url, asked := repository(t, map[string][]byte{"/stable/index.yaml": []byte(index), "/stable/app-1.0.0.tgz": first, "/files/app.tgz": second, "/stable/lib.tgz": library})
	r := Reader{Dir: t.TempDir(), HTTP: http.DefaultClient}
	resolve := func(charts ...imageset.Chart) ([]Chart, []Failure) {
		t.Helper()
		found, failed, err := r.Resolve(t.Context(), imageset.Helm{Repositories: []imageset.Repository{{Name: "r", URL: url, Charts: charts}}}, "mirror.helm")
		if err != nil {
			t.Fatal(err)
		}
		return found, failed
	}
	for _, test := range []struct{ version, want string }{{"1.0.0", "1.0.0"}, {"", "1.2.0"}, {"~1.0", "1.0.0"}, {">=1", "1.2.0"}} {
		found, failed := resolve(imageset.Chart{Name: "app", Version: test.version})
		if len(failed) > 0 || len(found) != 1 || found[0].Version != test.want || !slices.Equal(found[0].Images, appImages) {
			t.Errorf("version %q: %+v, %+v", test.version, found, failed)
		}
	}
	if n := asked("/stable/app-1.0.0.tgz"); n != 1 {
		t.Errorf("a chart that was there with the index's digest was fetched %d times", n)
	}
	found, _ := resolve(imageset.Chart{Name: "app", Version: "1.0.0", ImagePaths: []string{"{.spec.image}", "{.spec.template.spec.containers[*].env[*].value}"}})
	want := append([]string{"quay.io/team/operand:v7", "quay.io/team/thing:v1"}, appImages...)
	slices.Sort(want)
	if len(found) != 1 || !slices.Equal(found[0].Images, want) {
		t.Errorf("with paths of its own: %+v", found)
	}
	for _, c := range []imageset.Chart{{Name: "bad", Version: "1.0.0"}, {Name: "none"}, {Name: "app", Version: "7.0.0"}, {Name: "app", Version: "x y"}, {Name: "app", Version: "2.0.0-rc.1"}} {
		if found, failed := resolve(c); len(found) > 0 || len(failed) != 1 {
			t.Errorf("%+v: %+v, %+v", c, found, failed)
		}
	}
	found, failed := resolve()               // all of it
	if len(found) != 2 || len(failed) != 2 { // app twice; the release candidate's file and bad's digest fail; the library is left out
		t.Errorf("whole repository: %+v, %+v", found, failed)
	}
	r.HTTP = nil
	found, failed = resolve(imageset.Chart{Name: "app", Version: "1.0.0"})
	if len(failed) > 0 || len(found) != 1 || !slices.Equal(found[0].Images, appImages) {
		t.Errorf("without the repository: %+v, %+v", found, failed)
	}
}

func TestLocal(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "app.tgz")
	if err := os.WriteFile(file, app(t, "1.0.0"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(c imageset.Chart) ([]Chart, []Failure, error) {
		return Reader{Dir: dir}.Resolve(t.Context(), imageset.Helm{Local: []imageset.Chart{c}}, "mirror.helm")
	}
	found, failed, err := read(imageset.Chart{Name: "app", Path: file})
	if err != nil || len(failed) > 0 || len(found) != 1 || !slices.Equal(found[0].Images, appImages) || found[0].File != "" {
		t.Errorf("%+v, %+v, %v", found, failed, err)
	}
	if _, failed, _ := read(imageset.Chart{Name: "app", Path: file, Version: "2.0.0"}); len(failed) != 1 {
		t.Error("a chart of another version was taken")
	}
	if _, failed, _ := read(imageset.Chart{Name: "app", Path: dir + "/none.tgz"}); len(failed) != 1 {
		t.Error("a chart that is not there was taken")
	}
	_, _, err = read(imageset.Chart{Name: "app", Path: file, ImagePaths: []string{"{.spec[}"}})
	if !errors.Is(err, imageset.ErrInvalid) || !strings.Contains(err.Error(), "mirror.helm.local[0].imagePaths[0]") {
		t.Errorf("a path that can't be read: %v", err)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nentries: {a: [{name: a, version: 1.0.0, urls: [a.tgz]}]}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := decodeIndex(raw)
		if err != nil {
			return
		}
		for _, w := range x.wanted(nil) {
			if file := w.entry.Name + "-" + w.entry.Version + ".tgz"; ValidFile(file) && filepath.Base(file) != file {
				t.Errorf("%q leads elsewhere", file)
			}
		}
	})
}

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// serveChart serves a repository with one chart, whose pod wants image.
func serveChart(t *testing.T, address, image string) string {
	t.Helper()
	var chart bytes.Buffer
	zip := gzip.NewWriter(&chart)
	w := tar.NewWriter(zip)
	for name, data := range map[string]string{
		"app/Chart.yaml":         "apiVersion: v2\nname: app\nversion: 1.0.0\n",
		"app/templates/pod.yaml": "kind: Pod\nspec: {containers: [{image: \"" + image + "\"}]}\n",
	} {
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
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skipf("no loopback for %s: %v", address, err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/charts/index.yaml":
			fmt.Fprint(w, "apiVersion: v1\nentries: {app: [{name: app, version: 1.0.0, urls: [app.tgz]}]}\n")
		case "/charts/app.tgz":
			_, _ = w.Write(chart.Bytes())
		default:
			http.NotFound(w, r)
		}
	}))
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return server.URL + "/charts"
}

func TestChartsAcrossTheGap(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		t.Run(address, func(t *testing.T) {
			g := newGap(t, address)
			g.source.push(t, "team/app:v1", 50_000)
			url := serveChart(t, address, g.source.host+"/team/app:v1")
			set := func(kind, key string) {
				g.write(t, key+".yaml", "apiVersion: mirror.openshift.io/v2alpha1\nkind: "+kind+"\n"+key+":\n  helm: {repositories: [{name: r, url: \""+url+"\", charts: [{name: app, version: 1.0.0}]}]}\n")
			}
			set("ImageSetConfiguration", "mirror")
			dir, target := filepath.Join(g.dir, "usb"), "docker://"+g.target.host+"/site"
			usb := "file://" + dir
			g.must(t, "-c", filepath.Join(g.dir, "mirror.yaml"), usb)
			check := exec.CommandContext(t.Context(), "sha256sum", "-c", "--strict", "SHA256SUMS")
			check.Dir = dir
			if out, err := check.CombinedOutput(); err != nil || !strings.Contains(string(out), "working-dir/helm/charts/app-1.0.0.tgz: OK") {
				t.Errorf("%v\n%s", err, out)
			}
			here := filepath.Join(g.dir, "here")
			if out := g.must(t, "--from", usb, "--workspace", "file://"+here, target); !strings.Contains(out, "1 images copied") || !strings.Contains(out, "1 charts: ") {
				t.Error(out)
			}
			for _, file := range []string{filepath.Join(here, "working-dir/helm/charts/app-1.0.0.tgz"), filepath.Join(dir, "working-dir/helm/indexes", strings.NewReplacer("http://", "", ":", "-", "[", "", "]", "").Replace(url), "index.yaml")} {
				if _, err := os.Stat(file); err != nil {
					t.Error(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "working-dir/helm/charts/app-1.0.0.tgz"), []byte("else"), 0o600); err != nil {
				t.Fatal(err)
			}
			var failed *failed
			if out, err := g.mirror(t, "--from", usb, "--workspace", "file://"+here, target); !errors.As(err, &failed) || failed.code != 16 {
				t.Errorf("a chart that is not what the plan promises: %v\n%s", err, out)
			}
			g.write(t, "mirror.yaml", "apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\nmirror: {}\n")
			g.must(t, "-c", filepath.Join(g.dir, "mirror.yaml"), usb)
			g.must(t, "-c", filepath.Join(g.dir, "mirror.yaml"), "--workspace", "file://"+here, target)
		})
	}
}

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
)

// TestMirrorFromDirectory: images and catalogs of OCI layouts go to the registry with their digests as they are, straight and over an archive.
func TestMirrorFromDirectory(t *testing.T) {
	g := newGap(t, "127.0.0.1")
	g.source.push(t, "team/one:v1", 10_000)
	made := filepath.Join(g.dir, "made")
	path, err := layout.Write(made, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	index, err := random.Index(1000, 2, 2)
	if err == nil {
		err = path.AppendIndex(index)
	}
	if err != nil {
		t.Fatal(err)
	}
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"mine/made": want.String()}
	images := "  - {name: \"oci://" + made + "\", targetRepo: mine/made}\n"
	if skopeo, err := exec.LookPath("skopeo"); err == nil {
		peer := filepath.Join(g.dir, "peer")
		out, err := exec.Command(skopeo, "copy", "--authfile", filepath.Join(g.dir, "auth.json"), "--src-tls-verify=false", "docker://"+g.source.host+"/team/one:v1", "oci:"+peer+":one").CombinedOutput()
		if err != nil {
			t.Fatalf("skopeo: %v: %s", err, out)
		}
		images += "  - name: \"oci://" + peer + ":one\"\n"
		names["peer"] = firstDigest(t, peer)
	}
	g.write(t, "set.yaml", "apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\nmirror:\n  additionalImages:\n"+images)
	usb := filepath.Join(g.dir, "usb")
	g.must(t, "-c", filepath.Join(g.dir, "set.yaml"), "--workspace", "file://"+filepath.Join(g.dir, "ws"), "docker://"+g.target.host+"/straight")
	g.must(t, "-c", filepath.Join(g.dir, "set.yaml"), "file://"+usb)
	g.must(t, "--from", "file://"+usb, "docker://"+g.target.host+"/carried")
	for _, namespace := range []string{"straight", "carried"} {
		for name, digest := range names {
			if got := g.target.digest(t, namespace+"/"+name, "latest"); got != digest {
				t.Errorf("%s/%s is %s, want %s", namespace, name, got, digest)
			}
		}
	}
	// Nobody pulls by the name of a directory.
	if sets, err := filepath.Glob(filepath.Join(usb, "working-dir", "cluster-resources", "i[dt]ms*")); err != nil || len(sets) > 0 {
		t.Errorf("resources name a directory: %v, %v", sets, err)
	}
}

// firstDigest of a layout.
func firstDigest(t *testing.T, dir string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Manifests []struct {
			Digest string `json:"digest"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("%s, %v", raw, err)
	}
	return index.Manifests[0].Digest
}

// digest of a tag, as the registry tells ann.
func (r *tlsRegistry) digest(t *testing.T, repository, tag string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, "https://"+r.host+"/v2/"+repository+"/manifests/"+tag, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("ann", "secret")
	resp, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Header.Get("Docker-Content-Digest")
}

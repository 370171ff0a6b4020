package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/sync"
)

func TestPrintFailures(t *testing.T) {
	const login, trust = "registry q answers 401; podman login q", "registry r shows a certificate; --ca FILE"
	image := func(name, owner, cause string) sync.Outcome {
		return sync.Outcome{Origin: name, Category: plan.Operator, Owner: owner, Status: sync.Failed, Error: "get " + name, Cause: cause}
	}
	images := []sync.Outcome{
		image("q/1", "kiln", login), image("r/1", "", trust), {Origin: "q/0", Status: sync.Copied}, image("q/2", "", login),
		image("s/1", "kiln", ""), image("q/3", "", login), image("q/4", "", login), image("q/5", "", login),
	}
	const want = `failed: 5 images: registry q answers 401; podman login q
        operator image q/1 of kiln
        operator image q/2
        operator image q/3
        and 2 more
failed: operator image r/1: get r/1
failed: operator image s/1 of kiln: get s/1
`
	var out bytes.Buffer
	if printFailures(&out, images); out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

// Each failure is said once where nothing moves in between, and a refused archive is said to be refused, once.
func TestFailuresAreSaidOnce(t *testing.T) {
	g := newGap(t, "127.0.0.1")
	g.source.push(t, "team/one:v1", 50_000)
	g.images(t, "ImageSetConfiguration", "mirror", "team/one:v1", "team/none:v1")
	config, dir := filepath.Join(g.dir, "mirror.yaml"), filepath.Join(g.dir, "usb")
	out, err := g.mirror(t, "-c", config, "--dry-run", "file://"+dir)
	if err == nil || strings.Contains(err.Error(), "is there") || strings.Count(out, "image "+g.source.host+"/team/none:v1") != 1 {
		t.Errorf("dry run: %v\n%s", err, out)
	}
	g.images(t, "ImageSetConfiguration", "mirror", "team/one:v1")
	g.must(t, "-c", config, "file://"+dir)
	segments, err := filepath.Glob(filepath.Join(dir, "*.segment"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	replaceByte(t, segments[0])
	out, err = g.mirror(t, "--from", "file://"+dir, "docker://"+g.target.host)
	if err == nil || strings.Contains(out+err.Error(), "is there") || strings.Contains(out, "failed:") || !strings.Contains(err.Error(), "nothing of the archive was used") {
		t.Errorf("refused: %v\n%s", err, out)
	}
}

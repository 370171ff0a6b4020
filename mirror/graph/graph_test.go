package graph

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sample = `{"nodes":[
 {"version":"4.18.2","payload":"q/r@sha256:2"},{"version":"4.18.1","payload":"q/r@sha256:1"},{"version":"4.18.3","payload":"q/r@sha256:3","metadata":{"io.openshift.upgrades.graph.release.channels":"fast-4.18"}},
 {"version":"4.18.10","payload":"q/r@sha256:10","metadata":{"io.openshift.upgrades.graph.release.channels":"fast-4.18,stable-4.18"}}],
 "edges":[[1,0],[0,3],[1,2],[2,3]]}`

func TestSelect(t *testing.T) {
	file := filepath.Join(t.TempDir(), "graph.json")
	if err := os.WriteFile(file, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		channel string
		r       Range
		want    string
	}{
		"head":            {"stable-4.18", Range{}, "4.18.10"},
		"from":            {"stable-4.18", Range{Min: "4.18.2"}, "4.18.2 4.18.10"},
		"to":              {"fast-4.18", Range{Max: "4.18.3"}, "4.18.1 4.18.2 4.18.3"},
		"both":            {"fast-4.18", Range{Min: "4.18.2", Max: "4.18.3"}, "4.18.2 4.18.3"},
		"full":            {"fast-4.18", Range{Full: true}, "4.18.1 4.18.2 4.18.3 4.18.10"},
		"shortest newest": {"fast-4.18", Range{Min: "4.18.1", Max: "4.18.10", Shortest: true}, "4.18.1 4.18.3 4.18.10"},
		"shortest":        {"stable-4.18", Range{Min: "4.18.1", Max: "4.18.10", Shortest: true}, "4.18.1 4.18.2 4.18.10"},
		"nothing":         {"stable-4.18", Range{Min: "4.19.0"}, ""},
		"no path":         {"stable-4.18", Range{Min: "4.18.10", Max: "4.18.1", Shortest: true}, ""},
	} {
		g, err := Load(t.Context(), nil, file, c.channel, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := g.Select(c.r)
		var versions []string
		for _, n := range nodes {
			versions = append(versions, n.Version)
		}
		if got := strings.Join(versions, " "); got != c.want || (c.want == "") != errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func FuzzGraph(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`{"nodes":[],"edges":[[0,1]]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		g, err := Decode(raw)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v is not ErrInvalid", err)
			}
			return
		}
		for _, r := range []Range{{}, {Full: true}, {Full: true, Shortest: true}} {
			if nodes, err := g.Select(r); err == nil && len(nodes) == 0 {
				t.Fatal("no releases and no error")
			}
		}
	})
}

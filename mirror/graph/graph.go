// Package graph chooses releases from an update graph, as the Cincinnati protocol serves it.
package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

const (
	maxGraph    = 64 << 20
	maxNodes    = 10_000
	channelsKey = "io.openshift.upgrades.graph.release.channels"
)

// ErrInvalid says that a graph can't be read, or has no such releases.
var ErrInvalid = errors.New("update graph")

// Node is a release.
type Node struct {
	Version  string            `json:"version"`
	Payload  string            `json:"payload"`
	Metadata map[string]string `json:"metadata"`

	parsed *semver.Version
}

// Graph of releases and the updates between them.
type Graph struct {
	Nodes []Node   `json:"nodes"`
	Edges [][2]int `json:"edges"`
}

// Decode reads a graph and bounds it.
func Decode(raw []byte) (*Graph, error) {
	var g Graph
	if err := json.Unmarshal(raw, &g); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(g.Nodes) > maxNodes {
		return nil, fmt.Errorf("%w: more than %d releases", ErrInvalid, maxNodes)
	}
	for n := range g.Nodes {
		parsed, err := semver.StrictNewVersion(g.Nodes[n].Version)
		if err != nil || g.Nodes[n].Payload == "" {
			return nil, fmt.Errorf("%w: release %.60q with payload %.100q", ErrInvalid, g.Nodes[n].Version, g.Nodes[n].Payload)
		}
		g.Nodes[n].parsed = parsed
	}
	for _, edge := range g.Edges {
		if edge[0] < 0 || edge[1] < 0 || edge[0] >= len(g.Nodes) || edge[1] >= len(g.Nodes) {
			return nil, fmt.Errorf("%w: an update leads to a release that is not there", ErrInvalid)
		}
	}
	return &g, nil
}

// Load reads the graph of a channel and an architecture (in Go's words) from a file, or asks a server.
func Load(ctx context.Context, client *http.Client, source, channel, architecture string) (*Graph, error) {
	raw, err := read(ctx, client, source, channel, architecture)
	if err != nil {
		return nil, fmt.Errorf("get update graph of %s: %w", channel, err)
	}
	g, err := Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("get update graph of %s: %w", channel, err)
	}
	return g.channel(channel), nil
}

func read(ctx context.Context, client *http.Client, source, channel, architecture string) ([]byte, error) {
	if !strings.HasPrefix(source, "http://") && !strings.HasPrefix(source, "https://") {
		file, err := os.Open(strings.TrimPrefix(source, "file://"))
		if err != nil {
			return nil, err
		}
		defer file.Close()
		return io.ReadAll(io.LimitReader(file, maxGraph))
	}
	at, err := url.Parse(source)
	if err != nil {
		return nil, err
	}
	query := at.Query()
	query.Set("channel", channel)
	query.Set("arch", architecture)
	at.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", at.Host, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxGraph))
}

// channel keeps the releases of a channel, where the graph says which are.
func (g *Graph) channel(name string) *Graph {
	kept := &Graph{}
	index := make([]int, len(g.Nodes))
	for n, node := range g.Nodes {
		index[n] = -1
		named, says := node.Metadata[channelsKey]
		if says && !slices.Contains(strings.Split(named, ","), name) {
			continue
		}
		index[n] = len(kept.Nodes)
		kept.Nodes = append(kept.Nodes, node)
	}
	for _, edge := range g.Edges {
		if from, to := index[edge[0]], index[edge[1]]; from >= 0 && to >= 0 {
			kept.Edges = append(kept.Edges, [2]int{from, to})
		}
	}
	return kept
}

// Range of releases that are wanted. Neither bound means the newest release alone.
type Range struct {
	Min, Max string
	Full     bool
	Shortest bool
}

// Select chooses releases, oldest first.
func (g *Graph) Select(r Range) ([]Node, error) {
	sorted := slices.Clone(g.Nodes)
	slices.SortFunc(sorted, func(a, b Node) int { return a.parsed.Compare(b.parsed) })
	if len(sorted) == 0 {
		return nil, fmt.Errorf("%w: the channel has no releases", ErrInvalid)
	}
	low, high := sorted[0].parsed, sorted[len(sorted)-1].parsed
	var err error
	if r.Min != "" {
		if low, err = semver.StrictNewVersion(r.Min); err != nil {
			return nil, fmt.Errorf("%w: version %q: %w", ErrInvalid, r.Min, err)
		}
	}
	if r.Max != "" {
		if high, err = semver.StrictNewVersion(r.Max); err != nil {
			return nil, fmt.Errorf("%w: version %q: %w", ErrInvalid, r.Max, err)
		}
	}
	if r.Min == "" && r.Max == "" && !r.Full {
		low = high
	}
	if r.Shortest {
		return g.shortest(low, high)
	}
	chosen := slices.DeleteFunc(sorted, func(n Node) bool { return n.parsed.LessThan(low) || n.parsed.GreaterThan(high) })
	if len(chosen) == 0 {
		return nil, fmt.Errorf("%w: no release from %s to %s", ErrInvalid, low, high)
	}
	return chosen, nil
}

// shortest path of updates between two releases; of several as short, the one over newer releases.
func (g *Graph) shortest(low, high *semver.Version) ([]Node, error) {
	from := slices.IndexFunc(g.Nodes, func(n Node) bool { return n.parsed.Equal(low) })
	to := slices.IndexFunc(g.Nodes, func(n Node) bool { return n.parsed.Equal(high) })
	if from < 0 || to < 0 {
		return nil, fmt.Errorf("%w: the shortest path wants both ends in the channel: %s, %s", ErrInvalid, low, high)
	}
	next := make([][]int, len(g.Nodes))
	for _, edge := range g.Edges {
		next[edge[0]] = append(next[edge[0]], edge[1])
	}
	for n := range next {
		slices.SortFunc(next[n], func(a, b int) int { return g.Nodes[b].parsed.Compare(g.Nodes[a].parsed) })
	}
	before := map[int]int{from: -1}
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		for _, n := range next[queue[0]] {
			if _, seen := before[n]; !seen {
				before[n] = queue[0]
				queue = append(queue, n)
			}
		}
	}
	if _, reached := before[to]; !reached {
		return nil, fmt.Errorf("%w: no updates lead from %s to %s", ErrInvalid, low, high)
	}
	var path []Node
	for n := to; n >= 0; n = before[n] {
		path = append(path, g.Nodes[n])
	}
	slices.Reverse(path)
	return path, nil
}

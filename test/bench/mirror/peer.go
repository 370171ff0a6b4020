package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// peer is one tool with the set in its own words.
type peer struct {
	name     string
	commands func(source, target string) [][]string // run one after the other
	dir      string
}

// sample is one run.
type sample struct {
	code           int
	wall, cpu      time.Duration
	bytes, resent  int64 // over the loopback; TCP segments sent again
	ratio          float64
	source, target requests
	output         string
}

func newPeer(o options, set *imageSet, name string) (*peer, error) {
	return newPeerFor(o, set.names, name, name)
}

// newPeerFor writes the configuration that a tool wants for some repositories.
func newPeerFor(o options, names []string, name, folder string) (*peer, error) {
	p := &peer{name: name, dir: filepath.Join(o.dir, "peer-"+folder)}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(p.dir, "set.yaml")
	configure, args, err := inItsWords(o, names, name, file, p.dir)
	if err != nil {
		return nil, err
	}
	p.commands = func(source, target string) [][]string {
		if err := configure(source, target); err != nil {
			return [][]string{{"sh", "-c", "echo configuration could not be written; exit 1"}}
		}
		return args(source, target)
	}
	return p, nil
}

// sample runs the tool once.
func (p *peer) sample(ctx context.Context, source, target *registry) (sample, error) {
	for _, r := range []*registry{source, target} {
		if _, err := r.asked(); err != nil {
			return sample{}, err
		}
	}
	s, err := p.run(ctx, source.host, target.host)
	if err != nil {
		return sample{}, err
	}
	if s.source, err = source.asked(); err != nil {
		return sample{}, err
	}
	s.target, err = target.asked()
	return s, err
}

func (p *peer) run(ctx context.Context, source, target string) (sample, error) {
	var s sample
	before, err := loopbackBytes()
	if err != nil {
		return s, err
	}
	sentAgain, err := resent()
	if err != nil {
		return s, err
	}
	start := time.Now()
	for _, command := range p.commands(source, target) {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Dir = p.dir
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			s.code = exit.ExitCode()
		} else if err != nil {
			return s, err
		}
		s.cpu += cmd.ProcessState.SystemTime() + cmd.ProcessState.UserTime()
		s.output += out.String()
	}
	s.wall = time.Since(start)
	after, err := loopbackBytes()
	s.bytes = after - before
	if err == nil {
		s.resent, err = resent()
		s.resent -= sentAgain
	}
	if s.code != 0 {
		fmt.Fprintf(os.Stderr, "%s ended with %d:\n%s\n", p.name, s.code, s.output)
	}
	return s, err
}

// inItsWords is how a tool is told of the set, and how it is called.
func inItsWords(o options, names []string, name, file, dir string) (configure func(source, target string) error, args func(source, target string) [][]string, err error) {
	write := func(format func(source, target string) string) func(source, target string) error {
		return func(source, target string) error {
			return os.WriteFile(file, []byte(format(source, target)), 0o600)
		}
	}
	switch name {
	case "slipway":
		configure = write(func(source, _ string) string {
			text := "apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\nmirror:\n  additionalImages:\n"
			for _, n := range names {
				text += "  - name: " + source + "/" + n + ":v1\n"
			}
			return text
		})
		args = func(_, target string) [][]string {
			return [][]string{{o.slipway, "mirror", "-c", file, "--workspace", "file://" + dir, "--src-tls-verify=false", "--dest-tls-verify=false", "docker://" + target}}
		}
	case "skopeo":
		configure = write(func(source, _ string) string {
			text := source + ":\n  tls-verify: false\n  images:\n"
			for _, n := range names {
				text += "    " + n + ": [v1]\n"
			}
			return text
		})
		args = func(_, target string) [][]string {
			return [][]string{{"skopeo", "sync", "--all", "--src", "yaml", "--dest", "docker", "--dest-tls-verify=false", file, target}}
		}
	case "regsync":
		configure = write(func(source, target string) string {
			text := "version: 1\ncreds:\n- {registry: \"" + source + "\", tls: disabled}\n- {registry: \"" + target + "\", tls: disabled}\ndefaults: {parallel: 4}\nsync:\n"
			for _, n := range names {
				text += "- {source: \"" + source + "/" + n + ":v1\", target: \"" + target + "/" + n + ":v1\", type: image}\n"
			}
			return text
		})
		args = func(_, _ string) [][]string {
			return [][]string{{filepath.Join(o.tools, "regsync"), "once", "-c", file}}
		}
	case "crane":
		configure = func(string, string) error { return nil }
		args = func(source, target string) [][]string {
			script := "printf '%s\\n' " + strings.Join(names, " ") + " | xargs -P4 -I{} " + filepath.Join(o.tools, "crane") + " copy --insecure " + source + "/{}:v1 " + target + "/{}:v1"
			return [][]string{{"sh", "-c", script}}
		}
	default:
		return nil, nil, fmt.Errorf("peer %q: want slipway, skopeo, crane or regsync", name)
	}
	return configure, args, nil
}

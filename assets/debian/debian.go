// Package debian fetches packages of any architecture of Debian, without a change to the machine's own apt or dpkg.
package debian

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Suite that packages are taken from.
const Suite = "bookworm"

// keyring is that of Debian's package debian-archive-keyring, which every Debian has.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Packages is an apt of its own: its lists, its cache and its architectures are in a directory.
type Packages struct {
	dir string
}

// Open makes the directory and fetches the lists of the architectures, as Debian names them.
func Open(ctx context.Context, dir string, architectures ...string) (*Packages, error) {
	p := &Packages{dir}
	source, err := source(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"state/lists/partial", "cache/archives/partial", "debs", "tree"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return nil, fmt.Errorf("make directory of packages: %w", err)
		}
	}
	config := fmt.Sprintf("APT::Architecture %q;\nAPT::Architectures {\"%s\";};\nAPT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n"+
		"Dir::State %q;\nDir::State::status %q;\nDir::Cache %q;\nDir::Etc::sourcelist %q;\nDir::Etc::sourceparts \"-\";\n",
		architectures[0], strings.Join(architectures, `";"`),
		filepath.Join(dir, "state"), filepath.Join(dir, "status"), filepath.Join(dir, "cache"), filepath.Join(dir, "sources.list"))
	for name, content := range map[string]string{"apt.conf": config, "sources.list": source, "status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return nil, fmt.Errorf("write configuration of apt: %w", err)
		}
	}
	_, err = p.run(ctx, "apt-get", "update", "-q")
	return p, err
}

// source is the line of the suite as the machine's own apt has it.
func source(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("list package sources: %w", err)
	}
	return sourceOf(string(out))
}

func sourceOf(targets string) (string, error) {
	for line := range strings.Lines(targets) {
		if uri, release, ok := strings.Cut(strings.TrimSpace(line), " "); ok && release == Suite {
			return fmt.Sprintf("deb [signed-by=%s] %s %s main\n", keyring, uri, Suite), nil
		}
	}
	return "", fmt.Errorf("no package source of Debian %s is configured on this machine (run apt-get update once)", Suite)
}

// Unpack fetches packages, as "busybox-static:s390x", and gives the directory below which each is unpacked under its name.
func (p *Packages) Unpack(ctx context.Context, names ...string) (string, error) {
	tree := filepath.Join(p.dir, "tree")
	for _, name := range names {
		to := filepath.Join(tree, name)
		debs := filepath.Join(p.dir, "debs", name)
		if err := os.MkdirAll(debs, 0o755); err != nil {
			return "", fmt.Errorf("make directory of %s: %w", name, err)
		}
		if _, err := p.runIn(ctx, debs, "apt-get", "download", "-q", name); err != nil {
			return "", fmt.Errorf("fetch %s: %w", name, err)
		}
		found, err := filepath.Glob(filepath.Join(debs, "*.deb"))
		if err != nil || len(found) != 1 {
			return "", fmt.Errorf("fetch %s: %d files came", name, len(found))
		}
		if _, err := p.run(ctx, "dpkg-deb", "-x", found[0], to); err != nil {
			return "", fmt.Errorf("unpack %s: %w", name, err)
		}
	}
	return tree, nil
}

// Depends gives the first dependency of a package that has the prefix: the one with the version that a metapackage stands for.
func (p *Packages) Depends(ctx context.Context, name, prefix string) (string, error) {
	out, err := p.run(ctx, "apt-cache", "depends", name)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if depends, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "+prefix); ok {
			found, _, _ := strings.Cut(prefix+depends, ":")
			return found, nil
		}
	}
	return "", fmt.Errorf("%s depends on nothing that begins with %s", name, prefix)
}

func (p *Packages) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	return p.runIn(ctx, p.dir, name, args...)
}

func (p *Packages) runIn(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(os.Environ()), "APT_CONFIG="+filepath.Join(p.dir, "apt.conf"), "LC_ALL=C")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		text := problems.String()
		return out, fmt.Errorf("run %s: %w\n%s", strings.Join(cmd.Args, " "), err, text[max(0, len(text)-2000):])
	}
	return out, nil
}

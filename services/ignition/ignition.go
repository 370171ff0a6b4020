// Package ignition has discovery and node Ignition, merged from NodePool config; the token-guarded endpoint.
//
// Rendering is pure: the same input gives the same bytes. Everything rendered is parsed again by the real validator
// before it leaves the package.
package ignition

import (
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_4"
	"github.com/coreos/ignition/v2/config/v3_4/types"
	"github.com/coreos/vcontext/report"
	"k8s.io/utils/ptr"
)

// ContentType of every configuration that this package renders.
const ContentType = "application/vnd.coreos.ignition+json; version=3.4.0"

// Where hosts keep what they are told about the site.
const (
	siteCAFile    = "/etc/slipway/site-ca.crt"
	hostFile      = "/etc/slipway/host.json"
	hostTokenFile = "/etc/slipway/host-token"
	agentEnvFile  = "/etc/slipway/agent.env"
	agentProgram  = "/usr/local/bin/slipway-agent"
	agentUnit     = "slipway-agent.service"
)

//go:embed files
var files embed.FS

// Binary is a program that a host downloads and checks before it runs it.
type Binary struct {
	// URL is https: the host trusts the site CA.
	URL string
	// Hash is "sha256-<hex>" or "sha512-<hex>".
	Hash string
}

// ErrInvalid marks an input that cannot become a valid configuration.
var ErrInvalid = errors.New("invalid Ignition configuration")

// builder collects a configuration; its methods cannot fail, encode validates the whole.
type builder struct{ config types.Config }

func newBuilder() *builder {
	return &builder{types.Config{Ignition: types.Ignition{Version: types.MaxVersion.String()}}}
}

func (b *builder) node(path string) types.Node {
	return types.Node{Path: path, Overwrite: ptr.To(true)}
}

func (b *builder) file(path string, mode int, content []byte) {
	b.config.Storage.Files = append(b.config.Storage.Files, types.File{
		Node:          b.node(path),
		FileEmbedded1: types.FileEmbedded1{Mode: ptr.To(mode), Contents: inline(content)},
	})
}

func (b *builder) download(path string, mode int, from Binary) {
	b.config.Storage.Files = append(b.config.Storage.Files, types.File{
		Node: b.node(path),
		FileEmbedded1: types.FileEmbedded1{Mode: ptr.To(mode), Contents: types.Resource{
			Source:       ptr.To(from.URL),
			Verification: types.Verification{Hash: ptr.To(from.Hash)},
		}},
	})
}

func (b *builder) directory(path string, mode int) {
	b.config.Storage.Directories = append(b.config.Storage.Directories, types.Directory{
		// A directory that is there stays: overwriting would delete what it holds.
		Node:               types.Node{Path: path},
		DirectoryEmbedded1: types.DirectoryEmbedded1{Mode: ptr.To(mode)},
	})
}

func (b *builder) unit(name, contents string) {
	b.config.Systemd.Units = append(b.config.Systemd.Units, types.Unit{
		Name: name, Enabled: ptr.To(true), Contents: ptr.To(contents),
	})
}

// siteCA makes Ignition itself and the programs on the host trust the site.
func (b *builder) siteCA(pem []byte) {
	b.trust(pem)
	b.file(siteCAFile, 0o644, pem)
}

func (b *builder) trust(pem []byte) {
	tls := &b.config.Ignition.Security.TLS
	tls.CertificateAuthorities = append(tls.CertificateAuthorities, inline(pem))
}

// timeSources tells both of the clients that machine OSes carry.
func (b *builder) timeSources(sources []string) {
	if len(sources) == 0 {
		return
	}
	b.file("/etc/systemd/timesyncd.conf.d/50-slipway.conf", 0o644, []byte("[Time]\nNTP="+strings.Join(sources, " ")+"\n"))
	var chrony strings.Builder
	for _, source := range sources {
		chrony.WriteString("server " + source + " iburst\n")
	}
	b.file("/etc/chrony/sources.d/slipway.sources", 0o644, []byte(chrony.String()))
}

// merge puts a user's configuration over what was built so far.
func (b *builder) merge(child types.Config) { b.config = v3_4.Merge(b.config, child) }

func (b *builder) encode() ([]byte, error) {
	raw, err := json.Marshal(b.config)
	if err != nil {
		return nil, fmt.Errorf("encode Ignition: %w", err)
	}
	if _, found, err := v3_4.Parse(raw); err != nil {
		return nil, invalid(found, err)
	}
	return raw, nil
}

// parseUser reads a configuration that a user wrote, of any 3.x up to ours.
func parseUser(raw []byte) (types.Config, error) {
	config, found, err := v3_4.ParseCompatibleVersion(raw)
	if err != nil {
		return types.Config{}, invalid(found, err)
	}
	if config.Ignition.Config.Replace.Source != nil {
		return types.Config{}, fmt.Errorf("%w: ignition.config.replace would drop what the host needs to join", ErrInvalid)
	}
	return config, nil
}

// invalid says what the validator found. Contents are not part of it, so no secret gets out.
func invalid(found report.Report, err error) error {
	var messages []string
	for _, entry := range found.Entries {
		if entry.Kind == report.Error {
			messages = append(messages, entry.Context.String()+": "+entry.Message)
		}
	}
	if len(messages) == 0 {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return fmt.Errorf("%w: %s", ErrInvalid, strings.Join(messages, "; "))
}

func inline(content []byte) types.Resource {
	return types.Resource{Source: ptr.To("data:;base64," + base64.StdEncoding.EncodeToString(content))}
}

// embedded reads a file of the package; the set is fixed when the program is built, and the tests render all of it.
func embedded(name string) string {
	content, err := files.ReadFile("files/" + name)
	if err != nil {
		return ""
	}
	return string(content)
}

// disabled is a unit that something else starts.
func disabled(name, contents string) types.Unit {
	return types.Unit{Name: name, Contents: ptr.To(contents)}
}

package ignition

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_4/types"
)

// DiscoveryInput is what the live OS of an InfraEnv is told.
type DiscoveryInput struct {
	// InfraEnvID is the InfraEnv's UID, Token what its agents show the service.
	InfraEnvID, Token string
	// ServiceURL is the https base that the agent talks to, as https://10.7.0.2:8443.
	ServiceURL string
	// SiteCA is PEM; AdditionalTrustBundle (PEM) is trusted for downloads too.
	SiteCA, AdditionalTrustBundle []byte
	Agent                         Binary
	// SSHKey may hold several lines.
	SSHKey string
	// NTPSources are names or addresses.
	NTPSources []string
	// Mirrors is the site's mirror sets as a registries.conf, for live systems with podman; Registry is host:port of the site's registry.
	Mirrors  []byte
	Registry string
	// Override is the InfraEnv's ignitionConfigOverride.
	Override []byte
}

// Discovery renders what the live OS runs: the agent, and how it reaches and trusts the site. It sets no hostname.
func Discovery(in DiscoveryInput) ([]byte, error) {
	if err := in.validate(); err != nil {
		return nil, fmt.Errorf("discovery Ignition: %w", err)
	}
	b := newBuilder()
	b.siteCA(in.SiteCA)
	if len(in.AdditionalTrustBundle) > 0 {
		b.trust(in.AdditionalTrustBundle)
		b.file("/usr/local/share/ca-certificates/infraenv.crt", 0o644, in.AdditionalTrustBundle)
	}
	if len(in.Mirrors) > 0 {
		b.file("/etc/containers/registries.conf.d/50-slipway-mirrors.conf", 0o644, in.Mirrors)
		b.file("/etc/containers/certs.d/"+in.Registry+"/ca.crt", 0o644, in.SiteCA)
	}
	b.sshKeys(in.SSHKey)
	b.timeSources(in.NTPSources)
	b.file(agentEnvFile, 0o600, []byte("PULL_SECRET_TOKEN="+in.Token+"\n"))
	b.download(agentProgram, 0o755, in.Agent)
	b.unit(agentUnit, fmt.Sprintf(embedded("agent-discovery.service"), in.ServiceURL, in.InfraEnvID))
	if len(strings.TrimSpace(string(in.Override))) > 0 {
		override, err := parseUser(in.Override)
		if err != nil {
			return nil, fmt.Errorf("ignitionConfigOverride: %w", err)
		}
		b.merge(override)
	}
	return b.encode()
}

func (in DiscoveryInput) validate() error {
	faults := []error{in.Agent.validate(), base("service URL", in.ServiceURL)}
	if in.InfraEnvID == "" || strings.ContainsAny(in.InfraEnvID, " %\n\"'\\$") {
		faults = append(faults, fmt.Errorf("%w: InfraEnv id %q", ErrInvalid, in.InfraEnvID))
	}
	if in.Token == "" || strings.ContainsAny(in.Token, " \n\"'\\$#") {
		faults = append(faults, fmt.Errorf("%w: the InfraEnv token is empty or not one word", ErrInvalid))
	}
	return errors.Join(append(faults, words("NTP source", in.NTPSources)...)...)
}

func (b *builder) sshKeys(lines string) {
	var keys []types.SSHAuthorizedKey
	for line := range strings.Lines(lines) {
		if key := strings.TrimSpace(line); key != "" {
			keys = append(keys, types.SSHAuthorizedKey(key))
		}
	}
	if len(keys) > 0 {
		b.config.Passwd.Users = append(b.config.Passwd.Users, types.PasswdUser{Name: "core", SSHAuthorizedKeys: keys})
	}
}

func (f Binary) validate() error {
	if !strings.HasPrefix(f.Hash, "sha256-") && !strings.HasPrefix(f.Hash, "sha512-") {
		return fmt.Errorf("%w: agent hash %q is neither sha256-<hex> nor sha512-<hex>", ErrInvalid, f.Hash)
	}
	return base("agent URL", f.URL)
}

// base wants an https URL that is one word of a unit file.
func base(what, value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.ContainsAny(value, " \t\n\"'\\$") {
		return fmt.Errorf("%w: %s %q is not an https URL", ErrInvalid, what, value)
	}
	return nil
}

// words refuses values that would become more than one word of a configuration line.
func words(what string, values []string) []error {
	var faults []error
	for _, value := range values {
		if value == "" || strings.ContainsAny(value, " \t\r\n#") {
			faults = append(faults, fmt.Errorf("%w: %s %q is not one word", ErrInvalid, what, value))
		}
	}
	return faults
}

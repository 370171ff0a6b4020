package ignition

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_4/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"
)

// Source is where a host gets the Ignition of its NodePool.
type Source struct {
	// URL of the endpoint, as https://10.7.0.2:8443/ignition.
	URL string
	// Token is shown as "Authorization: Bearer <base64>".
	Token []byte
	// Headers beside it: NodePool (namespace/name), TargetConfigVersionHash.
	Headers map[string]string
	// CA is PEM.
	CA []byte
}

// PointerInput is what one host gets written to its disk.
type PointerInput struct {
	Source Source
	// InfraEnvID and HostID name the host towards the service at ServiceURL; HostToken is its secret.
	InfraEnvID, HostID, ServiceURL, HostToken string
	// NodeName becomes the hostname and the name of the Node, ProviderID what ties the Node to its Machine.
	NodeName, ProviderID string
	Agent                Binary
	// Overrides are merged last: the Agent's ignitionConfigOverrides.
	Overrides []byte
}

// Host is /etc/slipway/host.json, which the agent of an installed host reads.
type Host struct {
	InfraEnvID string `json:"infraEnvID"`
	HostID     string `json:"hostID"`
	URL        string `json:"url"`
	NodeName   string `json:"nodeName"`
}

// UserData renders the configuration that only points at a NodePool's Ignition: the value of the user-data Secret.
func UserData(source Source) ([]byte, error) {
	b := newBuilder()
	if err := b.source(source); err != nil {
		return nil, fmt.Errorf("user data: %w", err)
	}
	return b.encode()
}

// Pointer renders the Ignition of one host: who it is, how its agent reaches the service, and where the rest comes from.
func Pointer(in PointerInput) ([]byte, error) {
	if err := in.validate(); err != nil {
		return nil, fmt.Errorf("host Ignition: %w", err)
	}
	b := newBuilder()
	if err := b.source(in.Source); err != nil {
		return nil, fmt.Errorf("host Ignition: %w", err)
	}
	b.file(siteCAFile, 0o644, in.Source.CA)
	b.file("/etc/hostname", 0o644, []byte(in.NodeName+"\n"))
	host, err := json.Marshal(Host{InfraEnvID: in.InfraEnvID, HostID: in.HostID, URL: in.ServiceURL, NodeName: in.NodeName})
	if err != nil {
		return nil, fmt.Errorf("encode host file: %w", err)
	}
	b.file(hostFile, 0o600, append(host, '\n'))
	b.file(hostTokenFile, 0o600, []byte(in.HostToken))
	b.file(nodeEnvFile, 0o644, []byte("NODE_NAME="+in.NodeName+"\nPROVIDER_ID="+in.ProviderID+"\n"))
	b.download(agentProgram, 0o755, in.Agent)
	b.unit(agentUnit, embedded("agent-installed.service"))
	if len(strings.TrimSpace(string(in.Overrides))) > 0 {
		override, err := parseUser(in.Overrides)
		if err != nil {
			return nil, fmt.Errorf("ignitionConfigOverrides: %w", err)
		}
		b.merge(override)
	}
	return b.encode()
}

func (in PointerInput) validate() error {
	faults := []error{in.Agent.validate(), base("service URL", in.ServiceURL)}
	if problems := validation.IsDNS1123Subdomain(in.NodeName); len(problems) > 0 {
		faults = append(faults, fmt.Errorf("%w: node name %q: %s", ErrInvalid, in.NodeName, strings.Join(problems, "; ")))
	}
	faults = append(faults, words("host id", []string{in.HostID})...)
	faults = append(faults, words("provider id", []string{in.ProviderID})...)
	if in.HostToken == "" {
		faults = append(faults, fmt.Errorf("%w: the host token is empty", ErrInvalid))
	}
	return errors.Join(faults...)
}

func (b *builder) source(source Source) error {
	if err := base("Ignition URL", source.URL); err != nil {
		return err
	}
	if len(source.Token) == 0 {
		return fmt.Errorf("%w: the Ignition token is empty", ErrInvalid)
	}
	headers := types.HTTPHeaders{{
		Name:  "Authorization",
		Value: ptr.To("Bearer " + base64.StdEncoding.EncodeToString(source.Token)),
	}}
	for _, name := range slices.Sorted(maps.Keys(source.Headers)) {
		if strings.EqualFold(name, "Authorization") {
			continue
		}
		headers = append(headers, types.HTTPHeader{Name: name, Value: ptr.To(source.Headers[name])})
	}
	b.trust(source.CA)
	b.config.Ignition.Config.Merge = append(b.config.Ignition.Config.Merge, types.Resource{
		Source: ptr.To(source.URL), HTTPHeaders: headers,
	})
	return nil
}

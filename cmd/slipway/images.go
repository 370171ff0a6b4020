package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/agentapi"
	"github.com/slipway-io/slipway/services/controllers/infraenv"
	"github.com/slipway-io/slipway/services/ignition"
	"github.com/slipway-io/slipway/services/image"
)

// agentArchitectures are those that slipway-agent is built for; the first has to be there.
func agentArchitectures() []string { return []string{"x86_64", "aarch64", "ppc64le", "s390x"} }

// images are the files that hosts are given.
type images struct {
	systems []*image.OS
	agents  map[string]*image.Agent // by architecture
}

func (a *appliance) openImages(ctx context.Context) (*images, error) {
	opened := &images{agents: map[string]*image.Agent{}}
	for _, dir := range a.config.OSImages {
		system, err := image.OpenOS(dir)
		if err != nil {
			return nil, err
		}
		last := time.Now()
		err = system.Verify(ctx, a.path("verified.json"), func(file string, done, total int64) {
			if time.Since(last) > 2*time.Second {
				last = time.Now()
				a.log.Info("machine OS is verified", "file", file, "percent", 100*done/max(total, 1))
			}
		})
		if err != nil {
			return nil, fmt.Errorf("verify machine OS %s: %w", dir, err)
		}
		opened.systems = append(opened.systems, system)
	}
	return opened, a.openAgents(ctx, opened)
}

// openAgents finds those of other architectures beside the first, and names the machine OSes that stay without.
func (a *appliance) openAgents(ctx context.Context, opened *images) error {
	path := a.config.Agent
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find own executable: %w", err)
		}
		path = filepath.Join(filepath.Dir(self), "slipway-agent")
	}
	for i, architecture := range agentArchitectures() {
		file := path
		if i > 0 {
			file += "-" + architecture
		}
		agent, err := image.OpenAgent(ctx, file)
		if i > 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("open slipway-agent (configuration key agent): %w", err)
		}
		opened.agents[architecture] = agent
	}
	for _, system := range opened.systems {
		if opened.agents[system.CPUArchitecture] == nil {
			return fmt.Errorf("osImages: machine OS %s is for %s, and %s-%s is not there: `make build` makes it",
				system.Version, system.CPUArchitecture, path, system.CPUArchitecture)
		}
	}
	return nil
}

// agentBinary is where hosts get slipway-agent from.
func agentBinary(services, architecture string, opened *images) (ignition.Binary, error) {
	architecture = osArchitecture(architecture)
	agent, ok := opened.agents[architecture]
	if !ok {
		return ignition.Binary{}, fmt.Errorf("there is no slipway-agent for %s", architecture)
	}
	return ignition.Binary{URL: services + "/boot-artifacts/agent?arch=" + architecture, Hash: agent.Hash()}, nil
}

// osArchitecture is the machine OS's word for what InfraEnvs and agents write.
func osArchitecture(word string) string {
	switch word {
	case "", "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return word
}

func (a *appliance) imageService(opened *images, lookup infraenv.Lookup, sets *mirrorSets) (*image.Service, error) {
	return image.New(image.Config{
		OSImages:  opened.systems,
		Agents:    opened.agents,
		Addresses: a.config.Addresses(),
		HTTPPort:  a.bootPort(),
		Secure:    a.config.HTTP.Off(),
		InfraEnvs: decisions{lookup},
		Tokens:    a.tokens,
		Discovery: func(ctx context.Context, env *agentv1beta1.InfraEnv, address netip.Addr) ([]byte, error) {
			rules, err := sets.rules(ctx, "")
			if err != nil {
				return nil, err
			}
			return a.discovery(opened, env, a.servicesAt(address), rules.RegistriesConf())
		},
		Network: staticNetwork(lookup),
		Log:     a.log,
	})
}

// discovery is the Ignition of the live OS of an InfraEnv, for hosts that reach the appliance's services at the URL and find images by the site's mirror sets.
func (a *appliance) discovery(opened *images, env *agentv1beta1.InfraEnv, services string, mirrors []byte) ([]byte, error) {
	agent, err := agentBinary(services, env.Spec.CpuArchitecture, opened)
	if err != nil {
		return nil, err
	}
	return ignition.Discovery(ignition.DiscoveryInput{
		InfraEnvID: string(env.UID),
		Token:      a.tokens.InfraEnv(string(env.UID)),
		ServiceURL: services,
		SiteCA:     a.siteCA.PEM(),
		Agent:      agent,
		SSHKey:     env.Spec.SSHAuthorizedKey,
		NTPSources: env.Spec.AdditionalNTPSources,
		Registry:   a.registryHost(),
		Mirrors:    mirrors,
		Override:   []byte(env.Spec.IgnitionConfigOverride),
	})
}

// decisions adapts the controllers' lookup to what the image service asks.
type decisions struct{ infraenv.Lookup }

// BootDecision implements image.InfraEnvs.
func (d decisions) BootDecision(ctx context.Context, mac net.HardwareAddr, uuid, architecture string) (image.Decision, error) {
	local, env, err := d.Lookup.BootDecision(ctx, mac.String(), uuid, architecture)
	return image.Decision{Local: local, InfraEnv: env}, err
}

// diskImages adapts the image service to what agents and InfraEnvs ask.
type diskImages struct {
	appliance *appliance
	service   *image.Service
}

// Disk implements agentapi.Images.
func (d diskImages) Disk(ctx context.Context, arch, version string) (agentapi.Disk, error) {
	system, err := d.system(arch, version)
	if err != nil {
		return agentapi.Disk{}, err
	}
	if system.Disk.Artifact == nil {
		return agentapi.Disk{}, fmt.Errorf("machine OS %s for %s has no disk image: it is a live ISO alone", system.Version, arch)
	}
	return agentapi.Disk{
		URL:              d.appliance.servicesAt(d.service.Reached(ctx)) + "/boot-artifacts/disk?arch=" + system.CPUArchitecture + "&version=" + system.Version,
		SHA256:           system.Disk.UncompressedSHA256,
		Size:             system.Disk.UncompressedSize,
		CompressedSHA256: system.Disk.SHA256,
		CompressedSize:   system.Disk.Size,
	}, nil
}

// Version implements infraenv.Images.
func (d diskImages) Version(arch, want string) (string, error) {
	system, err := d.system(arch, want)
	if err != nil {
		return "", err
	}
	return system.Version, nil
}

// ISO implements infraenv.Images.
func (d diskImages) ISO(ctx context.Context, env *agentv1beta1.InfraEnv, arch, version, kind string) (bool, error) {
	system, err := d.system(arch, version)
	if err != nil || system.ISO == nil {
		return false, err
	}
	return true, d.service.CheckISO(ctx, env, version, arch, kind)
}

func (d diskImages) system(arch, version string) (*image.OS, error) {
	system, ok := d.service.OS(version, arch)
	if !ok {
		return nil, fmt.Errorf("no machine OS %q for %s: osImages in the configuration names those that there are", version, arch)
	}
	return system, nil
}

// pointers adapts the Ignition package to what agents' installations ask.
type pointers struct {
	appliance *appliance
	opened    *images
	service   *image.Service
}

// Pointer implements agentapi.Ignition: the installed host comes to the address that the live one came to.
func (p pointers) Pointer(ctx context.Context, in agentapi.Pointer) ([]byte, error) {
	services := p.appliance.servicesAt(p.service.Reached(ctx))
	agent, err := agentBinary(services, in.Architecture, p.opened)
	if err != nil {
		return nil, err
	}
	return ignition.Pointer(ignition.PointerInput{
		Source: ignition.Source{
			URL:     services + ignitionPath,
			Token:   in.Token,
			Headers: in.Headers,
			CA:      p.appliance.siteCA.PEM(),
		},
		InfraEnvID: in.InfraEnvID,
		HostID:     in.HostID,
		ServiceURL: services,
		HostToken:  in.HostToken,
		NodeName:   in.NodeName,
		ProviderID: in.ProviderID,
		Agent:      agent,
		Overrides:  in.Overrides,
	})
}

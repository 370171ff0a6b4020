package bmac

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

// Fits says that an Agent is of a BareMetalHost's machine: both are of one InfraEnv, and the boot MAC is one of the Agent's; of
// a host without boot MAC one of those that its BMC has shown, else the address of the BMC itself.
func Fits(bmh *metal3v1alpha1.BareMetalHost, agent *agentv1beta1.Agent) bool {
	infraEnv := bmh.Labels[api.InfraEnvLabel]
	if infraEnv == "" || agent.Labels[api.InfraEnvLabel] != infraEnv || agent.Namespace != bmh.Namespace {
		return false
	}
	macs := host.MACs(agent.Status.Inventory)
	if mac := MAC(bmh.Spec.BootMACAddress); mac != "" {
		return slices.Contains(macs, mac)
	}
	shown := shownMACs(bmh)
	if len(shown) > 0 {
		return slices.ContainsFunc(shown, func(mac string) bool { return slices.Contains(macs, mac) })
	}
	own := bmcAddress(bmh)
	return own.IsValid() && (own == address(agent.Status.Inventory.BmcAddress) || own == address(agent.Status.Inventory.BmcV6address))
}

// HasMAC says that a port with this MAC is the BareMetalHost's, as far as that is known.
func HasMAC(bmh *metal3v1alpha1.BareMetalHost, mac string) bool {
	return mac != "" && (MAC(bmh.Spec.BootMACAddress) == mac || slices.Contains(shownMACs(bmh), mac))
}

// MAC in lower case with colons, empty when it is none.
func MAC(text string) string {
	parsed, err := net.ParseMAC(text)
	if err != nil {
		return ""
	}
	return parsed.String()
}

func shownMACs(bmh *metal3v1alpha1.BareMetalHost) []string {
	if bmh.Status.HardwareDetails == nil {
		return nil
	}
	var macs []string
	for _, nic := range bmh.Status.HardwareDetails.NIC {
		if mac := MAC(nic.MAC); mac != "" {
			macs = append(macs, mac)
		}
	}
	return macs
}

func bmcAddress(bmh *metal3v1alpha1.BareMetalHost) netip.Addr {
	parsed, err := url.Parse(bmh.Spec.BMC.Address)
	if err != nil {
		return netip.Addr{}
	}
	return address(parsed.Hostname())
}

// address of an inventory; machines without a BMC say 0.0.0.0 or ::.
func address(text string) netip.Addr {
	parsed, err := netip.ParseAddr(strings.TrimSuffix(text, "/0"))
	if err != nil || parsed.IsUnspecified() {
		return netip.Addr{}
	}
	return parsed.Unmap()
}

// newest of the Agents that fit, nil for none.
func newest(bmh *metal3v1alpha1.BareMetalHost, agents []agentv1beta1.Agent) *agentv1beta1.Agent {
	var found *agentv1beta1.Agent
	for i := range agents {
		agent := &agents[i]
		if agent.DeletionTimestamp.IsZero() && Fits(bmh, agent) &&
			(found == nil || found.CreationTimestamp.Before(&agent.CreationTimestamp)) {
			found = agent
		}
	}
	return found
}

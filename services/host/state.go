package host

import (
	"strings"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/api"
)

// Limits that decide about silence and stuck work.
const (
	// MaxSilence is how long a host may be silent before it counts as disconnected.
	MaxSilence = 3 * time.Minute
	// reclaimLimit is how long a reclaimed host may take to come back into the inventory.
	reclaimLimit = time.Hour
)

// Contact is when and how a host was last heard.
type Contact struct {
	At time.Time
	// Skew is the host's clock minus ours at that time.
	Skew time.Duration
}

// Refusal is an event that a host's state does not allow; Code is the HTTP status that tells so.
type Refusal struct {
	Code   int
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }

// State is the Agent's state; empty before its first registration.
func State(a *agentv1beta1.Agent) string { return a.Status.DebugInfo.State }

// Bound says that the spec asks for a cluster.
func Bound(a *agentv1beta1.Agent) bool { return a.Spec.ClusterDeploymentName != nil }

// Hostname is the name that the host's node gets.
func Hostname(a *agentv1beta1.Agent) string {
	if a.Spec.Hostname != "" {
		return a.Spec.Hostname
	}
	if a.Status.Inventory.Hostname != "" {
		return a.Status.Inventory.Hostname
	}
	return a.Name
}

// Installed says that the host's disk holds the system that it is to boot.
func Installed(a *agentv1beta1.Agent) bool {
	switch State(a) {
	case api.StateAddedToExistingCluster, api.StateInstallingPendingUser:
		return true
	case api.StateInstallingInProgress:
		return afterReboot(a)
	}
	return false
}

// AwaitsNode says that only the host's Node can tell how the installation goes on.
func AwaitsNode(a *agentv1beta1.Agent) bool {
	state := State(a)
	return Bound(a) && (state == api.StateInstallingInProgress || state == api.StateInstallingPendingUser) && afterReboot(a)
}

func unbound(state string) bool { return strings.HasSuffix(state, "-unbound") }

// preInstall are the states in which a bound host waits for its installation.
func preInstall(state string) bool {
	switch state {
	case api.StateDiscovering, api.StateKnown, api.StateInsufficient, api.StateDisconnected:
		return true
	}
	return false
}

func inventoried(a *agentv1beta1.Agent) bool { return a.Status.Inventory.ReportTime != nil }

func setState(a *agentv1beta1.Agent, state, info string) {
	a.Status.DebugInfo.State, a.Status.DebugInfo.StateInfo = state, info
}

// idle is the state of a host that waits for its inventory.
func idle(a *agentv1beta1.Agent) string {
	if Bound(a) {
		return api.StateDiscovering
	}
	return api.StateDiscoveringUnbound
}

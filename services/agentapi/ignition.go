package agentapi

import (
	"fmt"
	"net/http"
	"strconv"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

// tokenKey is the key of the Secret that Agent.spec.ignitionEndpointTokenReference names.
const tokenKey = "ignition-token"

// ignition gives the config that goes onto a host's disk: to a host that is being installed, and to no other.
func (s *Server) ignition(w http.ResponseWriter, r *http.Request) {
	c := s.enter(w, r, false)
	if c == nil {
		return
	}
	state, reference := host.State(c.agent), c.agent.Spec.IgnitionEndpointTokenReference
	if state != api.StateInstalling && state != api.StateInstallingInProgress || reference == nil {
		problem(w, r, http.StatusConflict, fmt.Sprintf("host %s is not being installed (state %s)", c.hostID, state))
		return
	}
	token, err := s.Secrets.Secret(r.Context(), client.ObjectKey{Namespace: reference.Namespace, Name: reference.Name}, tokenKey)
	if err != nil {
		s.Log.Error("read ignition token", "host", c.hostID, "secret", reference.Namespace+"/"+reference.Name, "err", err)
		problem(w, r, http.StatusServiceUnavailable, "the cluster's Ignition token cannot be read yet")
		return
	}
	config, err := s.Ignition.Pointer(r.Context(), Pointer{
		InfraEnvID: string(c.infraEnv.UID), HostID: c.hostID, HostToken: s.Tokens.Host(c.hostID),
		NodeName: host.Hostname(c.agent), ProviderID: api.ProviderIDPrefix + c.agent.Name,
		Architecture: c.agent.Status.Inventory.Cpu.Architecture,
		Token:        token, Headers: c.agent.Spec.IgnitionEndpointHTTPHeaders, Overrides: []byte(c.agent.Spec.IgnitionConfigOverrides),
	})
	if err != nil {
		s.Log.Error("render host ignition", "host", c.hostID, "err", err)
		problem(w, r, http.StatusInternalServerError, "the host's Ignition cannot be rendered: "+clip(err.Error()))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Disposition", "attachment; filename="+string(c.agent.Status.Role)+"-"+c.hostID+".ign")
	w.Header().Set("Content-Length", strconv.Itoa(len(config)))
	// A host that has gone meanwhile asks again.
	_, _ = w.Write(config)
}

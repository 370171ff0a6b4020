package agentapi

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/slipway-io/slipway/services/agentapi/wire"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

// call is a request whose sender is known.
type call struct {
	infraEnv *agentv1beta1.InfraEnv
	hostID   string
	// installed says that the sender showed the host's own token.
	installed bool
	remote    netip.Addr
	agent     *agentv1beta1.Agent
}

func remote(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr().Unmap()
}

func secret(r *http.Request) string {
	if token := r.Header.Get(wire.SecretHeader); token != "" {
		return token
	}
	return r.URL.Query().Get("api_key")
}

// knock checks ids, token and InfraEnv; hostID may be empty. Without a call it has answered.
func (s *Server) knock(w http.ResponseWriter, r *http.Request, infraEnvID, hostID string) *call {
	c := &call{hostID: hostID, remote: remote(r)}
	for _, id := range []string{infraEnvID, hostID} {
		if id == "" {
			continue
		}
		if parsed, err := uuid.Parse(id); err != nil || parsed.String() != id {
			problem(w, r, http.StatusBadRequest, fmt.Sprintf("%q is not a UUID in its lower case form", clip(id)))
			return nil
		}
	}
	token := secret(r)
	switch {
	case token == "":
		s.refuse(w, r, c, http.StatusUnauthorized, "the token is missing (header "+wire.SecretHeader+" or query api_key)")
		return nil
	case s.Tokens.CheckInfraEnv(infraEnvID, token):
	case hostID != "" && s.Tokens.CheckHost(hostID, token):
		c.installed = true
	default:
		s.refuse(w, r, c, http.StatusUnauthorized, "the token is not that of InfraEnv "+infraEnvID)
		return nil
	}
	infraEnv, err := s.InfraEnvs.ByUID(r.Context(), infraEnvID)
	if err != nil {
		if apierrors.IsNotFound(err) {
			problem(w, r, http.StatusNotFound, fmt.Sprintf("there is no InfraEnv with id %s", infraEnvID))
			return nil
		}
		s.failed(w, r, c, "read InfraEnv", err)
		return nil
	}
	c.infraEnv = infraEnv
	return c
}

// enter admits a request about a host that is registered, from where the host is, with a token of the right kind.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, installedToo bool) *call {
	return s.enterAs(w, r, r.PathValue("infraenv"), r.PathValue("host"), installedToo)
}

func (s *Server) enterAs(w http.ResponseWriter, r *http.Request, infraEnvID, hostID string, installedToo bool) *call {
	c := s.knock(w, r, infraEnvID, hostID)
	if c == nil {
		return nil
	}
	agent, err := s.read(r.Context(), c.hostID)
	if err != nil {
		s.failed(w, r, c, "read Agent", err)
		return nil
	}
	c.agent = agent
	switch {
	case c.installed && !installedToo:
		s.refuse(w, r, c, http.StatusForbidden, "an installed host's token does not open this")
		return nil
	case !belongs(agent, c.infraEnv):
		s.refuse(w, r, c, http.StatusForbidden, fmt.Sprintf("host %s belongs to another InfraEnv", c.hostID))
		return nil
	case !c.installed && host.State(agent) == api.StateAddedToExistingCluster:
		s.refuse(w, r, c, http.StatusForbidden, fmt.Sprintf("host %s is installed and shows its own token", c.hostID))
		return nil
	case !s.sessions.admit(c.hostID, c.remote, c.installed || moves(agent)):
		s.refuse(w, r, c, http.StatusConflict, fmt.Sprintf("host %s is connected from another address", c.hostID))
		return nil
	}
	return c
}

// moves says that the host is between two systems, which may have different addresses.
func moves(agent *agentv1beta1.Agent) bool {
	state := host.State(agent)
	return host.Installed(agent) || state == api.StateReclaiming || state == api.StateReclaimingRebooting
}

func belongs(agent *agentv1beta1.Agent, infraEnv *agentv1beta1.InfraEnv) bool {
	return agent.Namespace == infraEnv.Namespace && agent.Labels[api.InfraEnvLabel] == infraEnv.Name
}

// read is the newest Agent that we know: the cache may be behind our own last write.
func (s *Server) read(ctx context.Context, hostID string) (*agentv1beta1.Agent, error) {
	agent, err := s.Agents.Find(ctx, hostID)
	if err != nil {
		return nil, err
	}
	return s.sessions.newest(agent), nil
}

// update writes through the store and remembers the result.
func (s *Server) update(ctx context.Context, agent *agentv1beta1.Agent, change func(*agentv1beta1.Agent) error) (*agentv1beta1.Agent, error) {
	updated, err := s.Agents.Update(ctx, agent, change)
	if err != nil {
		return nil, err
	}
	s.sessions.wrote(updated)
	return updated, nil
}

// refuse answers and logs the first refusal of its kind.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, c *call, status int, reason string) {
	if s.refusals.first(fmt.Sprint(c.remote, c.hostID, status, reason)) {
		s.Log.Warn("agent refused", "host", c.hostID, "remote", c.remote, "status", status, "reason", reason, "path", clip(r.URL.Path))
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "X-Secret-Key")
	}
	problem(w, r, status, reason)
}

func clip(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// refusals remembers what was logged, for an hour and not without bounds.
type refusals struct {
	now    func() time.Time
	mu     sync.Mutex
	logged map[string]time.Time
}

func newRefusals(now func() time.Time) *refusals {
	return &refusals{now: now, logged: map[string]time.Time{}}
}

func (r *refusals) first(key string) bool {
	const most = 4096
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if at, is := r.logged[key]; is && now.Sub(at) < time.Hour {
		return false
	}
	if len(r.logged) >= most {
		clear(r.logged)
	}
	r.logged[key] = now
	return true
}

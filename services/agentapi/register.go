package agentapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"

	"github.com/google/uuid"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/services/agentapi/wire"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

// smallBody bounds everything but replies and logs.
const smallBody = 64 << 10

func decode(w http.ResponseWriter, r *http.Request, limit int64, into any) bool {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			problem(w, r, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", limit))
			return false
		}
		problem(w, r, http.StatusBadRequest, "the body ended early")
		return false
	}
	if err := json.Unmarshal(data, into); err != nil {
		problem(w, r, http.StatusBadRequest, "the body is not the JSON that is expected: "+err.Error())
		return false
	}
	return true
}

func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	c := s.knock(w, r, r.PathValue("infraenv"), "")
	if c == nil {
		return
	}
	var request wire.RegisterRequest
	if !decode(w, r, smallBody, &request) {
		return
	}
	if id, err := uuid.Parse(request.HostID); err != nil || id.String() != request.HostID {
		problem(w, r, http.StatusBadRequest, fmt.Sprintf("host_id %q is not a UUID in its lower case form", clip(request.HostID)))
		return
	}
	c.hostID = request.HostID
	agent, err := s.Agents.Find(r.Context(), c.hostID)
	if apierrors.IsNotFound(err) {
		agent = newAgent(c.infraEnv, c.hostID)
		err = s.Agents.Create(r.Context(), agent)
		if apierrors.IsAlreadyExists(err) {
			agent, err = s.Agents.Find(r.Context(), c.hostID)
		}
	}
	if err != nil {
		s.failed(w, r, c, "register host", err)
		return
	}
	if !s.claim(w, r, c, agent, request.MACs) {
		return
	}
	s.sessions.show(c.hostID, r.Header.Get(wire.ApprovalHeader))
	before := host.State(agent)
	agent, err = s.update(r.Context(), agent, host.Register)
	if err != nil {
		s.failed(w, r, c, "register host", err)
		return
	}
	s.sessions.restart(c.hostID)
	s.Log.Info("host registered", "host", c.hostID, "infraEnv", c.infraEnv.Namespace+"/"+c.infraEnv.Name, "remote", c.remote,
		"before", before, "state", host.State(agent), "agent", clip(request.AgentVersion))
	answer(w, http.StatusCreated, registered(c, agent, request))
}

// claim refuses an identity that is another machine's.
func (s *Server) claim(w http.ResponseWriter, r *http.Request, c *call, agent *agentv1beta1.Agent, macs []string) bool {
	switch {
	case !belongs(agent, c.infraEnv):
		s.refuse(w, r, c, http.StatusForbidden, fmt.Sprintf("host %s belongs to another InfraEnv", c.hostID))
	case !host.KnowsMACs(agent, macs):
		s.refuse(w, r, c, http.StatusConflict, fmt.Sprintf("host id %s belongs to a machine with other MAC addresses; "+
			"delete that Agent if the machine is gone", c.hostID))
	case !s.sessions.admit(c.hostID, c.remote, moves(agent)):
		s.refuse(w, r, c, http.StatusConflict, fmt.Sprintf("host %s is connected from another address", c.hostID))
	default:
		return true
	}
	return false
}

func newAgent(infraEnv *agentv1beta1.InfraEnv, hostID string) *agentv1beta1.Agent {
	labels := maps.Clone(infraEnv.Spec.AgentLabels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[api.InfraEnvLabel] = infraEnv.Name
	return &agentv1beta1.Agent{
		ObjectMeta: metav1.ObjectMeta{
			Name: hostID, Namespace: infraEnv.Namespace, Labels: labels,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: agentv1beta1.GroupVersion.String(), Kind: "InfraEnv", Name: infraEnv.Name, UID: infraEnv.UID,
			}},
		},
		Spec: agentv1beta1.AgentSpec{Role: models.HostRoleAutoAssign},
	}
}

func registered(c *call, agent *agentv1beta1.Agent, request wire.RegisterRequest) wire.RegisterResponse {
	id := string(c.infraEnv.UID)
	// Encoding three strings cannot fail.
	args, _ := json.Marshal(map[string]string{"infra_env_id": id, "host_id": c.hostID, "agent_version": request.AgentVersion})
	return wire.RegisterResponse{
		ID: c.hostID, InfraEnvID: id, Kind: "Host", Href: fmt.Sprintf("%s/v2/infra-envs/%s/hosts/%s", wire.BasePath, id, c.hostID),
		Status: host.State(agent), StatusInfo: agent.Status.DebugInfo.StateInfo,
		Runner: wire.RunnerCommand{Args: []string{string(args)}, RetrySeconds: 3},
	}
}

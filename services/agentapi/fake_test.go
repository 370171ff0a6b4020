package agentapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/agentapi"
	"github.com/slipway-io/slipway/services/agentapi/wire"
	"github.com/slipway-io/slipway/services/host"
)

const (
	envA  = "aaaaaaaa-0000-4000-8000-000000000001"
	envB  = "bbbbbbbb-0000-4000-8000-000000000002"
	host1 = "c0ffee00-0000-4000-8000-000000000001"
	host2 = "c0ffee00-0000-4000-8000-000000000002"
)

var resource = schema.GroupResource{Group: "agent-install.openshift.io", Resource: "agents"}

// tokens are readable, as no real ones are.
type tokens struct{}

func (tokens) CheckInfraEnv(uid, token string) bool { return token == "env:"+uid }
func (tokens) Host(hostID string) string            { return "host:" + hostID }
func (tokens) CheckHost(hostID, token string) bool  { return token == "host:"+hostID }

// site is the memory of a site: InfraEnvs, Agents and a controller that follows every change.
type site struct {
	t      *testing.T
	mu     sync.Mutex
	agents map[string]*agentv1beta1.Agent
	count  int
	node   bool
	power  host.Power
	server *agentapi.Server
	web    *httptest.Server
	log    bytes.Buffer
}

func newSite(t *testing.T) *site {
	s := &site{t: t, agents: map[string]*agentv1beta1.Agent{}}
	s.server = agentapi.New(agentapi.Config{
		Tokens: tokens{}, InfraEnvs: s, Agents: s, Secrets: s, Images: s, Ignition: s, Powers: s,
		Requirements: host.DefaultRequirements(), Log: slog.New(slog.NewTextHandler(&s.log, nil)),
	})
	s.web = httptest.NewServer(s.server)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.web.Close()
	})
	return s
}

func (s *site) ByUID(_ context.Context, uid string) (*agentv1beta1.InfraEnv, error) {
	name, is := map[string]string{envA: "a", envB: "b"}[uid]
	if !is {
		return nil, apierrors.NewNotFound(resource, uid)
	}
	return &agentv1beta1.InfraEnv{
		ObjectMeta: metav1.ObjectMeta{Namespace: "slipway", Name: name, UID: types.UID(uid)},
		Spec:       agentv1beta1.InfraEnvSpec{AgentLabels: map[string]string{"size": "small"}},
	}, nil
}

func (s *site) Find(_ context.Context, hostID string) (*agentv1beta1.Agent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	agent, is := s.agents[hostID]
	if !is {
		return nil, apierrors.NewNotFound(resource, hostID)
	}
	return agent.DeepCopy(), nil
}

func (s *site) Create(_ context.Context, agent *agentv1beta1.Agent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	agent.UID = types.UID("uid-" + agent.Name)
	s.store(agent)
	return nil
}

func (s *site) Update(_ context.Context, agent *agentv1beta1.Agent, change func(*agentv1beta1.Agent) error) (*agentv1beta1.Agent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.agents[agent.Name].DeepCopy()
	if err := change(next); err != nil {
		return nil, err
	}
	s.store(next)
	result := next.DeepCopy()
	s.refresh(next)
	return result, nil
}

// store is called with the lock held.
func (s *site) store(agent *agentv1beta1.Agent) {
	s.count++
	agent.ResourceVersion = strconv.Itoa(s.count)
	s.agents[agent.Name] = agent.DeepCopy()
}

// refresh is the controller's part.
func (s *site) refresh(agent *agentv1beta1.Agent) {
	now := time.Now()
	host.Refresh(agent, host.Observed{
		Now: now, Contact: host.Contact{At: now}, Need: host.DefaultRequirements(), NodeExists: s.node, NodeReady: s.node,
	})
	s.store(agent)
	s.server.Wake(agent.Name)
}

// user changes a spec as kubectl would.
func (s *site) user(hostID string, change func(*agentv1beta1.Agent)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	agent := s.agents[hostID].DeepCopy()
	change(agent)
	s.refresh(agent)
}

func (s *site) state(hostID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agents[hostID].Status.DebugInfo.State
}

func (s *site) stage(hostID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.agents[hostID].Status.Progress.CurrentStage)
}

func (s *site) Secret(_ context.Context, secret client.ObjectKey, key string) ([]byte, error) {
	if secret.String() != "clusters-demo/token" || key != "ignition-token" {
		return nil, errors.New("wrong secret " + secret.String())
	}
	return []byte("t0ken"), nil
}

func (s *site) Disk(_ context.Context, arch, _ string) (agentapi.Disk, error) {
	if arch != "x86_64" {
		return agentapi.Disk{}, errors.New("no such image")
	}
	return agentapi.Disk{URL: "https://site/boot-artifacts/disk", SHA256: "aa", CompressedSHA256: "bb", Size: 10, CompressedSize: 5}, nil
}

func (s *site) Pointer(_ context.Context, in agentapi.Pointer) ([]byte, error) {
	return json.Marshal(in)
}

// answer of the service to a host.
type answer struct {
	status int
	body   []byte
	header http.Header
}

func (a answer) steps(t *testing.T) wire.Steps {
	t.Helper()
	var steps wire.Steps
	if err := json.Unmarshal(a.body, &steps); err != nil || a.status != http.StatusOK {
		t.Fatalf("poll answered %d %s", a.status, a.body)
	}
	return steps
}

func (s *site) call(method, path, token, body string, headers ...string) answer {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.web.URL+wire.BasePath+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set(wire.SecretHeader, token)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return s.send(request)
}

func (s *site) send(request *http.Request) answer {
	s.t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{response.StatusCode, data, response.Header}
}

// from asks as if from another address.
func (s *site) from(remote, method, path, token, body string) answer {
	request := httptest.NewRequest(method, wire.BasePath+path, strings.NewReader(body))
	request.RemoteAddr = remote
	request.Header.Set(wire.SecretHeader, token)
	recorder := httptest.NewRecorder()
	s.server.ServeHTTP(recorder, request)
	return answer{recorder.Code, recorder.Body.Bytes(), recorder.Header()}
}

func (s *site) register(env, hostID string) answer {
	return s.call("POST", "/v2/infra-envs/"+env+"/hosts", "env:"+env, `{"host_id":"`+hostID+`","discovery_agent_version":"v1"}`)
}

func at(env, hostID, rest string) string { return "/v2/infra-envs/" + env + "/hosts/" + hostID + rest }

const inventory = `{"hostname":"w0","cpu":{"count":4,"architecture":"x86_64"},"memory":{"physical_bytes":4294967296},
"interfaces":[{"name":"eth0","mac_address":"52:54:00:00:00:01"}],
"disks":[{"id":"/dev/disk/by-id/d","by_id":"/dev/disk/by-id/d","name":"vda","path":"/dev/vda","size_bytes":20000000000,"installation_eligibility":{"eligible":true}}]}`

func reply(step string, code int, output, message string) string {
	data, _ := json.Marshal(wire.StepReply{Type: step, ID: step + "-1", ExitCode: code, Output: output, Error: message})
	return string(data)
}

// Power implements agentapi.Powers.
func (s *site) Power(context.Context, *agentv1beta1.Agent) (host.Power, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.power, nil
}

func (s *site) bmc(power host.Power) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.power = power
}

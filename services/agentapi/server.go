package agentapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/agentapi/wire"
	"github.com/slipway-io/slipway/services/host"
)

// Tokens knows the secrets of InfraEnvs and of installed hosts.
type Tokens interface {
	// CheckInfraEnv says whether the token is the InfraEnv's (metadata.uid).
	CheckInfraEnv(uid, token string) bool
	// Host is the token that an installed host shows, CheckHost compares it.
	Host(hostID string) string
	CheckHost(hostID, token string) bool
}

// InfraEnvs finds an InfraEnv by metadata.uid; one that is missing is an apierrors.IsNotFound.
type InfraEnvs interface {
	ByUID(ctx context.Context, uid string) (*agentv1beta1.InfraEnv, error)
}

// Agents keeps the hosts.
type Agents interface {
	// Find looks in every namespace; a host that is missing is an apierrors.IsNotFound.
	Find(ctx context.Context, hostID string) (*agentv1beta1.Agent, error)
	Create(ctx context.Context, agent *agentv1beta1.Agent) error
	// Update changes the status, again on the newest Agent when another writer was first; an error of change ends it.
	Update(ctx context.Context, agent *agentv1beta1.Agent, change func(*agentv1beta1.Agent) error) (*agentv1beta1.Agent, error)
}

// Secrets reads one key of a Secret.
type Secrets interface {
	Secret(ctx context.Context, secret client.ObjectKey, key string) ([]byte, error)
}

// Disk is a zstd-compressed disk image.
type Disk struct {
	// URL is https and the site CA signs it.
	URL string
	// SHA256 and Size are of the raw image, Compressed… of what is downloaded; all hex.
	SHA256, CompressedSHA256 string
	Size, CompressedSize     int64
}

// Images knows the machine OS; version is InfraEnv.spec.osImageVersion, empty for the newest.
type Images interface {
	Disk(ctx context.Context, arch, version string) (Disk, error)
}

// Pointer is what one host's first boot is told.
type Pointer struct {
	InfraEnvID, HostID, HostToken string
	// NodeName becomes hostname and Node name, ProviderID is agent://<host id>.
	NodeName, ProviderID string
	// Architecture in the words of the machine OS.
	Architecture string
	// Token is the content of the Secret's key ignition-token, Headers go with it.
	Token   []byte
	Headers map[string]string
	// Overrides are the Agent's ignitionConfigOverrides.
	Overrides []byte
}

// Ignition renders the config that is written to a host's disk.
type Ignition interface {
	Pointer(ctx context.Context, in Pointer) ([]byte, error)
}

// Powers knows who switches a host's power.
type Powers interface {
	Power(ctx context.Context, agent *agentv1beta1.Agent) (host.Power, error)
}

// Config wires a Server.
type Config struct {
	Tokens    Tokens
	InfraEnvs InfraEnvs
	Agents    Agents
	Secrets   Secrets
	Images    Images
	Ignition  Ignition
	// Powers may be nil: people then switch all hosts.
	Powers       Powers
	Requirements host.Requirements
	Log          *slog.Logger
	// Now is time.Now when nil.
	Now func() time.Time
}

// Server answers the agents.
type Server struct {
	Config
	mux      *http.ServeMux
	sessions *sessions
	refusals *refusals
	stop     chan struct{}
	stopOnce sync.Once
}

// New makes a Server; it serves at once, Run only ends its long polls.
func New(config Config) *Server {
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Server{
		Config: config, mux: http.NewServeMux(), sessions: newSessions(config.Now), refusals: newRefusals(config.Now),
		stop: make(chan struct{}),
	}
	const infraEnv, one = wire.BasePath + "/v2/infra-envs/{infraenv}", "/hosts/{host}"
	s.mux.HandleFunc("POST "+infraEnv+"/hosts", s.register)
	s.mux.HandleFunc("GET "+infraEnv+one+"/instructions", s.instructions)
	s.mux.HandleFunc("POST "+infraEnv+one+"/instructions", s.reply)
	s.mux.HandleFunc("PUT "+infraEnv+one+"/progress", s.progress)
	s.mux.HandleFunc("PUT "+infraEnv+one+"/logs-progress", s.logsProgress)
	s.mux.HandleFunc("POST "+wire.BasePath+"/v2/clusters/{cluster}/logs", s.logs)
	s.mux.HandleFunc("GET "+infraEnv+one+"/downloads/ignition", s.ignition)
	s.mux.HandleFunc("GET "+wire.BasePath+"/v2/infra-env/{infraenv}"+one+"/downloads/ignition", s.ignition)
	s.mux.HandleFunc("/", notServed)
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Run waits for the end of ctx and then lets every waiting host go.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	s.stopOnce.Do(func() { close(s.stop) })
	return nil
}

// Wake lets a host that waits on the line look again.
func (s *Server) Wake(hostID string) { s.sessions.wake(hostID) }

// Peer is the address that a host speaks from, invalid before it was heard, and the token that it shows to approval policies.
func (s *Server) Peer(hostID string) (from netip.Addr, token string) { return s.sessions.peer(hostID) }

// Seen is the last contact with a host; one that was never heard counts from the server's start.
func (s *Server) Seen(hostID string) host.Contact { return s.sessions.contact(hostID) }

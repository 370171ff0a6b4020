// Package scripted is a scripted BMC for tests: the BMC interface's other side, a state machine for each vendor's profile with
// the refusals that the vendor is known for, latency, few sessions, and faults that are switched while it runs.
package scripted

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Machine is the hardware that a BMC owns: a real one in the virtual site. Power calls return when it is so.
type Machine interface {
	PowerOn(ctx context.Context) error
	PowerOff(ctx context.Context, graceful bool) error
	Reset(ctx context.Context) error
	// BootOnce has the next start, and only that, come from target: Pxe, Cd, Hdd, UefiHttp with its URL, or None.
	BootOnce(ctx context.Context, target, httpURL string) error
	Insert(ctx context.Context, url string) error
	Eject(ctx context.Context) error
}

// Powered is a Machine that tells whether it runs, which its operating system or a crash may end. Without it a machine is as its BMC
// last made it.
type Powered interface{ Running() bool }

// Options of one BMC.
type Options struct {
	Username, Password string
	// Serial and MACs of the machine; one each is made up when there is none.
	Serial string
	MACs   []string
	// MinLatency and MaxLatency of each answer.
	MinLatency, MaxLatency time.Duration
	// Machine that it owns; nil has the BMC play it.
	Machine Machine
	// Certificate it starts with; without one it makes its own when TLS is called.
	Certificate *tls.Certificate
	Log         *slog.Logger
	Seed        uint64
}

// Faults that are switched while it runs.
type Faults struct {
	// Down: connections are taken and dropped.
	Down bool
	// MediaUnreachable: inserting says that the URL cannot be read.
	MediaUnreachable bool
	// Unlicensed: virtual media want to be paid for, as on iLO without Advanced.
	Unlicensed bool
	// StuckTask: what it accepts never comes to an end.
	StuckTask bool
	// Storm: everything is 503.
	Storm bool
	// SessionTableFull: no session can be made.
	SessionTableFull bool
	// HalfBody: answers are cut in the middle.
	HalfBody bool
	// Share of answers, of 1, that are 503: for load tests.
	Share float64
}

// Counts for assertions.
type Counts struct {
	Requests, Logins, WrongLogins, WrongPasswords int
	// AtOnce is the most requests at a time, Sessions the most open at a time, OpenSessions those now.
	AtOnce, Sessions, OpenSessions int
	// Unauthorized answers, of whatever was wrong.
	Unauthorized int
}

// BMC is an http.Handler.
type BMC struct {
	profile Profile
	options Options
	routes  map[string]route

	mu       sync.Mutex
	random   *rand.Rand
	faults   Faults
	counts   Counts
	running  int
	password string
	wrong    map[string]int
	sessions map[string]string
	serial   int
	state    state
	cert     *tls.Certificate
}

// state of the machine.
type state struct {
	power                 string
	enabled, target, mode string
	httpURI               string
	slots                 []inserted
	bios, pending         map[string]any
	lag, post, conflicts  int
	tasks                 map[string]task
	version               int
	started               []string
}

type inserted struct{ image string }

type task struct{ state, id, message string }

// route answers one path by method.
type route map[string]func(context.Context, *request) response

type request struct {
	body map[string]any
	raw  []byte
	http *http.Request
}

type response struct {
	status int
	body   any
	header map[string]string
}

// New BMC whose machine is off.
func New(profile Profile, options Options) *BMC {
	if options.Username == "" {
		options.Username, options.Password = "admin", "scripted-password"
	}
	if options.Serial == "" {
		options.Serial = fmt.Sprintf("SN%06d", options.Seed)
	}
	if len(options.MACs) == 0 {
		options.MACs = []string{fmt.Sprintf("52:54:01:%02x:%02x:%02x", byte(options.Seed>>16), byte(options.Seed>>8), byte(options.Seed))}
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	b := &BMC{
		profile: profile, options: options, password: options.Password, cert: options.Certificate,
		random: rand.New(rand.NewPCG(options.Seed, 7)), sessions: map[string]string{}, wrong: map[string]int{},
		state: state{
			power: "Off", enabled: "Disabled", target: "None", mode: "UEFI", slots: make([]inserted, len(profile.Slots)),
			bios: map[string]any{}, pending: map[string]any{}, tasks: map[string]task{}, post: profile.refusals.bootDuringPOST,
		},
	}
	for name, value := range profile.BIOS {
		b.state.bios[name] = value
	}
	b.routes = b.paths()
	return b
}

// Fault changes what is wrong with it.
func (b *BMC) Fault(change func(*Faults)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.faults)
}

// Rotate the password; sessions end with it.
func (b *BMC) Rotate(password string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.password, b.sessions = password, map[string]string{}
}

// DropSessions as a restart of the BMC does.
func (b *BMC) DropSessions() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions = map[string]string{}
}

// Counts so far.
func (b *BMC) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts := b.counts
	counts.OpenSessions = len(b.sessions)
	for _, n := range b.wrong {
		counts.WrongPasswords = max(counts.WrongPasswords, n)
	}
	return counts
}

// Starts are what the machine was started from, in order: Hdd, Pxe, Cd <URL>, …
func (b *BMC) Starts() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.state.started...)
}

// BIOS attribute as the machine has it now.
func (b *BMC) BIOS(name string) any {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state.bios[name]
}

// Serve on a listener until ctx is done, with TLS when secure.
func (b *BMC) Serve(ctx context.Context, listener net.Listener, secure bool) error {
	server := &http.Server{Handler: b, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	if secure {
		trust, err := b.TLS()
		if err != nil {
			return err
		}
		listener = tls.NewListener(listener, trust)
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // Serve tells
	defer stop()
	if err := server.Serve(listener); ctx.Err() == nil {
		return fmt.Errorf("serve BMC: %w", err)
	}
	return nil
}

// ServeHTTP answers as the vendor would.
func (b *BMC) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	faults, latency, failing := b.begin()
	if faults.Down {
		b.end() // who sees the connection end asks again at once
		drop(w)
		return
	}
	defer b.end()
	select {
	case <-time.After(latency):
	case <-r.Context().Done():
		return
	}
	if faults.Storm || failing {
		write(w, refuse(http.StatusServiceUnavailable, "ServiceTemporarilyUnavailable", "The service is busy."), false)
		return
	}
	write(w, b.answer(r), faults.HalfBody)
}

func (b *BMC) begin() (Faults, time.Duration, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running++
	b.counts.Requests++
	b.counts.AtOnce = max(b.counts.AtOnce, b.running)
	latency := b.options.MinLatency
	if spread := b.options.MaxLatency - b.options.MinLatency; spread > 0 {
		latency += time.Duration(b.random.Int64N(int64(spread)))
	}
	return b.faults, latency, b.faults.Share > 0 && b.random.Float64() < b.faults.Share
}

func (b *BMC) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running--
}

func drop(w http.ResponseWriter) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		return
	}
	conn, _, err := hijacker.Hijack()
	if err == nil {
		_ = conn.Close() // it is to be broken
	}
}

func write(w http.ResponseWriter, answer response, half bool) {
	body := []byte{}
	if answer.body != nil {
		text, err := json.Marshal(answer.body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		body = text
	}
	w.Header().Set("Content-Type", "application/json")
	for name, value := range answer.header {
		w.Header().Set(name, value)
	}
	if answer.status != http.StatusNoContent {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	}
	w.WriteHeader(answer.status)
	if half {
		body = body[:len(body)/2]
	}
	_, _ = w.Write(body) // who asked may be gone
}

// refuse as Redfish does.
func refuse(status int, message, text string, args ...string) response {
	return response{status: status, body: map[string]any{"error": map[string]any{
		"code": "Base.1.12.GeneralError", "message": "See ExtendedInfo.",
		"@Message.ExtendedInfo": []map[string]any{{"MessageId": "Base.1.12." + message, "Message": text, "MessageArgs": args}},
	}}}
}

func ok(body any) response { return response{status: http.StatusOK, body: body} }

func done() response { return response{status: http.StatusNoContent} }

func link(path string) map[string]any { return map[string]any{"@odata.id": path} }

func collection(path string, members ...string) map[string]any {
	links := []map[string]any{}
	for _, member := range members {
		links = append(links, link(path+"/"+member))
	}
	return map[string]any{"@odata.id": path, "Members@odata.count": len(links), "Members": links}
}

func (b *BMC) system() string  { return "/redfish/v1/Systems/" + b.profile.SystemID }
func (b *BMC) manager() string { return "/redfish/v1/Managers/" + b.profile.ManagerID }

func (b *BMC) media() string {
	if b.profile.MediaAtSystem {
		return b.system() + "/VirtualMedia"
	}
	return b.manager() + "/VirtualMedia"
}

func clean(path string) string { return "/" + strings.Trim(path, "/") }

// Media that are inserted.
func (b *BMC) Media() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var images []string
	for _, slot := range b.state.slots {
		if slot.image != "" {
			images = append(images, slot.image)
		}
	}
	return images
}

// Power as the BMC tells it.
func (b *BMC) Power() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.powerState()
}

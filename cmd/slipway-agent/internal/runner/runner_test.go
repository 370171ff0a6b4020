package runner

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/machine"
	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/protocol"
	"github.com/slipway-io/slipway/services/agentapi/wire"
)

const hostID = "c0ffee00-0000-4000-8000-000000000001"

// service answers from a script and notes what it was told.
type service struct {
	mu      sync.Mutex
	told    []string
	answers map[string][]string
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Step  string `json:"step_type"`
		Code  int    `json:"exit_code"`
		Stage string `json:"current_stage"`
	}
	if r.Method != http.MethodGet {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	key := r.Method + " " + r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	s.mu.Lock()
	defer s.mu.Unlock()
	note := strings.TrimSpace(key + " " + body.Step + body.Stage)
	if body.Code != 0 {
		note += " failed"
	}
	s.told = append(s.told, note)
	queue := s.answers[key]
	if len(queue) == 0 {
		if key == "GET instructions" {
			time.Sleep(20 * time.Millisecond)
		}
		_, _ = w.Write([]byte(`{"id":"x","post_step_action":"continue"}`))
		return
	}
	s.answers[key] = queue[1:]
	if status, rest, ok := strings.Cut(queue[0], " "); ok && status == "status" {
		code := map[string]int{"404": 404, "409": 409, "500": 500}[rest]
		http.Error(w, `{"kind":"Error","reason":"as scripted"}`, code)
		return
	}
	_, _ = w.Write([]byte(queue[0]))
}

func (s *service) heard(note string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.told, note)
}

func start(t *testing.T, s *service) (*Runner, chan struct{}) {
	t.Helper()
	server := httptest.NewTLSServer(s)
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	client, err := protocol.New(server.URL, "env", hostID, "token", ca)
	if err != nil {
		t.Fatal(err)
	}
	rebooted := make(chan struct{}, 8)
	return &Runner{
		Client: client, Root: machine.Root(t.TempDir()), Print: t.Logf, Marker: filepath.Join(t.TempDir(), "run/installed"),
		Reboot: func() error { rebooted <- struct{}{}; return nil },
	}, rebooted
}

func until(t *testing.T, s *service, note string) {
	t.Helper()
	for started := time.Now(); time.Since(started) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		if s.heard(note) {
			return
		}
	}
	t.Fatalf("never heard %q of %q", note, s.told)
}

func run(t *testing.T, r *Runner) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- r.Discover(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func step(kind, args string) string {
	data, err := json.Marshal(wire.Steps{PostStep: "continue", Instructions: []wire.Step{{Type: kind, ID: kind + "-1", Args: []string{args}}}})
	if err != nil {
		return ""
	}
	return string(data)
}

func TestStepsAreAnswered(t *testing.T) {
	s := &service{answers: map[string][]string{"GET instructions": {
		step("inventory", hostID), step("ntp-synchronizer", "{}"), step("install", "{}"), step("reboot-for-reclaim", "no JSON"),
		`{"post_step_action":"exit"}`,
	}}}
	r, _ := start(t, s)
	run(t, r)
	for _, note := range []string{
		"POST instructions inventory", "POST instructions ntp-synchronizer failed", "POST instructions install failed",
		"POST instructions reboot-for-reclaim failed",
	} {
		until(t, s, note)
	}
}

func TestRegistersAgainWhenForgotten(t *testing.T) {
	s := &service{answers: map[string][]string{
		"POST hosts":       {"status 500", `{"id":"x"}`},
		"GET instructions": {"status 500", "not JSON", `{"post_step_action":"exit"}`},
	}}
	r, _ := start(t, s)
	run(t, r)
	for started := time.Now(); time.Since(started) < 15*time.Second; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		n := 0
		for _, note := range s.told {
			if note == "POST hosts" {
				n++
			}
		}
		s.mu.Unlock()
		if n >= 3 {
			return
		}
	}
	t.Errorf("told: %q", s.told)
}

// TestCompleteDiskIsNotWrittenAgain is an agent that was killed between its last write and the reboot.
func TestCompleteDiskIsNotWrittenAgain(t *testing.T) {
	s := &service{answers: map[string][]string{}}
	r, rebooted := start(t, s)
	if err := r.finish(); err != nil {
		t.Fatal(err)
	}
	if err := r.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-rebooted
	if !slices.Equal(s.told, []string{"PUT progress Rebooting"}) {
		t.Errorf("told %q", s.told)
	}
}

func TestReclaimWipesAndReboots(t *testing.T) {
	s := &service{answers: map[string][]string{"GET instructions": {step("reboot-for-reclaim", `{"boot_device":"/dev/vda"}`)}}}
	r, rebooted := start(t, s)
	disk := r.Root.Path("dev/vda")
	if err := os.MkdirAll(filepath.Dir(disk), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(disk, []byte(strings.Repeat("x", 4<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, r)
	<-rebooted
	data, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	if data[0] != 0 || data[len(data)-1] != 0 || data[2<<20] != 'x' {
		t.Error("the wrong part of the disk was wiped")
	}
	until(t, s, "POST instructions reboot-for-reclaim")
}

func FuzzArguments(f *testing.F) {
	f.Add(`{"boot_device":"/dev/vda","image_url":"https://x"}`)
	f.Add(`[]`)
	f.Fuzz(func(_ *testing.T, text string) {
		var request wire.InstallRequest
		_ = arguments(wire.Step{Type: "install", Args: []string{text}}, &request)
		var steps wire.Steps
		_ = json.Unmarshal([]byte(text), &steps)
	})
}

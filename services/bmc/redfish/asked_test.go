package redfish

import (
	"crypto/tls"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/scripted"
)

// tally of requests by method and result.
type tally struct {
	mu   sync.Mutex
	seen map[string]int
}

func (a *tally) asked(method, result string, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if took <= 0 {
		result += " in no time"
	}
	a.seen[method+" "+result]++
}

// taken is what was seen since the last time.
func (a *tally) taken() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.seen = map[string]int{} }()
	return a.seen
}

// TestAsked tells every request with how it ended, the login and the farewell among them.
func TestAsked(t *testing.T) {
	s, seen := stand(t, scripted.Profiles()[0], scripted.Options{}), &tally{seen: map[string]int{}}
	s.config.Asked = seen.asked
	c, err := Open(t.Context(), s.config)
	if err != nil {
		t.Fatal(err)
	}
	if got := seen.taken(); got["POST 2xx"] != 1 || got["GET 2xx"] < 2 || len(got) != 2 {
		t.Errorf("login: %v", got)
	}
	power := func(want map[string]int) {
		t.Helper()
		_, _ = c.Power(t.Context()) // how it ended is what is told
		if got := seen.taken(); !maps.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
	}
	power(map[string]int{"GET 2xx": 1})
	s.Fault(func(f *scripted.Faults) { f.Storm = true })
	power(map[string]int{"GET 5xx": 3})
	s.Fault(func(f *scripted.Faults) { f.Storm, f.HalfBody = false, true })
	power(map[string]int{"GET " + string(bmc.Protocol): 1})
	s.Fault(func(f *scripted.Faults) { f.HalfBody, f.Down = false, true })
	power(map[string]int{"GET " + string(bmc.Unreachable): 1})
	s.Fault(func(f *scripted.Faults) { f.Down = false })
	c.Trust(&tls.Config{})
	power(map[string]int{"GET " + string(bmc.TLS): 1})
	c.Trust(s.config.TLS)
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := seen.taken(); !maps.Equal(got, map[string]int{"DELETE 2xx": 1}) {
		t.Errorf("farewell: %v", got)
	}
}

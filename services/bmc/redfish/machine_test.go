package redfish

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/scripted"
)

// recorder is a machine that writes down what its BMC does with it.
type recorder struct {
	mu     sync.Mutex
	did    []string
	broken bool
}

func (r *recorder) note(what string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.did = append(r.did, what)
	if r.broken {
		return errors.New("no power")
	}
	return nil
}

func (r *recorder) PowerOn(context.Context) error { return r.note("on") }
func (r *recorder) PowerOff(_ context.Context, soft bool) error {
	return r.note(map[bool]string{true: "soft off", false: "off"}[soft])
}
func (r *recorder) Reset(context.Context) error                { return r.note("reset") }
func (r *recorder) Insert(_ context.Context, url string) error { return r.note("insert " + url) }
func (r *recorder) Eject(context.Context) error                { return r.note("eject") }
func (r *recorder) BootOnce(_ context.Context, target, url string) error {
	return r.note(strings.TrimSpace("boot " + target + " " + url))
}

// TestMachine: what is asked of a BMC of any vendor comes to its machine, and what the machine refuses comes back.
func TestMachine(t *testing.T) {
	want := "insert " + image + ", boot Cd, on, soft off, off, eject, boot UefiHttp http://192.0.2.1/x.efi, on, reset"
	for _, p := range scripted.Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			machine := &recorder{}
			s := stand(t, p, scripted.Options{Machine: machine})
			c := s.open(t)
			ctx := t.Context()
			_, insert := c.InsertMedia(ctx, image)
			_, cd := c.BootOnce(ctx, bmc.BootCD, "")
			on := c.SetPower(ctx, bmc.On, false)
			soft := c.SetPower(ctx, bmc.Off, true)
			again := c.SetPower(ctx, bmc.On, false)
			err := errors.Join(insert, cd, on, soft, again, c.SetPower(ctx, bmc.Off, false), c.EjectMedia(ctx))
			_, http := c.BootOnce(ctx, bmc.BootHTTP, "http://192.0.2.1/x.efi")
			if err := errors.Join(err, http, c.SetPower(ctx, bmc.On, false), c.Reset(ctx)); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(compact(machine.did), ", ")
			expected := strings.Replace(want, "soft off, off", "soft off, on, off", 1)
			if p.Name == "iLO5" {
				expected = strings.Replace(expected, " http://192.0.2.1/x.efi", "", 1)
			}
			if got != expected {
				t.Errorf("did %s, want %s", got, expected)
			}
			machine.broken = true
			if err := c.SetPower(ctx, bmc.Off, false); bmc.Kind(err) != bmc.Busy {
				t.Errorf("broken machine: %v is %q", err, bmc.Kind(err))
			}
		})
	}
}

// compact takes out what a ladder said more than once.
func compact(did []string) []string {
	var out []string
	for _, one := range did {
		if len(out) == 0 || out[len(out)-1] != one {
			out = append(out, one)
		}
	}
	return out
}

//go:build integration

package baremetalhost_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc/scripted"
	"github.com/slipway-io/slipway/services/bmh"
	"github.com/slipway-io/slipway/test/world"
)

// entering a state is the write that says so.
func entering(state bmh.State) point {
	return point{name: string(state), write: `"state":"` + string(state) + `"`}
}

func step(what string) point { return point{name: what, step: what} }

// TestIntegrationKilled sends SIGKILL to the controllers in every state of the table, as they enter it, and in every step with the
// machine. Whatever was done or said then, each life ends as one without deaths does, and the machine is started once.
func TestIntegrationKilled(t *testing.T) {
	t.Parallel()
	w := world.Start(t, namespace, system)
	seen := map[string]bool{}
	for name, unheard := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			inner := &scene{World: w.With(t), kill: func() {}}
			l := &life{scene: inner, killer: newKiller(t, inner.World, unheard), name: name, seen: seen}
			l.whole()
			l.external()
			l.unmanaged()
		})
	}
	t.Logf("killed at %v, before and after each", slices.Sorted(maps.Keys(seen)))
	for _, state := range bmh.States() {
		if state != metal3v1alpha1.StateNone && !seen[string(state)] {
			t.Errorf("nobody was killed in state %s", state)
		}
	}
}

// life of a host whose controllers die at every point.
type life struct {
	*scene
	killer *killer
	name   string
	seen   map[string]bool
}

// through points one after the other: begin brings the host to the first of them.
func (l *life) through(m func() *machine, begin func(), points ...point) {
	l.Helper()
	for i, p := range points {
		// Nothing kills them before they are armed; from then on they may be dead at any moment.
		running := l.killer.runs()
		killed := l.killer.arm(p)
		if i == 0 {
			begin()
		}
		if !running {
			l.killer.start()
		}
		select {
		case <-killed:
		case <-time.After(time.Minute):
			m().read()
			l.Fatalf("%s is not reached: %s, started %v", p.name, m().told(), m().Starts())
		}
		l.seen[p.name] = true
		// The BMC ends sessions that nobody uses. It has room for eight, and here are more deaths than that in a minute.
		m().DropSessions()
	}
	l.killer.start()
}

// declare a host when the controllers are armed to die.
func (l *life) declare(name string, seed uint64, first point, change func(*machine), more ...point) (m *machine) {
	l.Helper()
	options := scripted.Options{Seed: seed, Machine: l.killer}
	l.through(func() *machine { return m }, func() { m = l.scene.declare(l.name+"-"+name, scripted.Profiles()[0], options, change) },
		slices.Insert(more, 0, first)...)
	return m
}

// begin and the points after it.
func (m *machine) killedAt(l *life, begin func(), points ...point) {
	m.Helper()
	l.through(func() *machine { return m }, begin, points...)
}

func (l *life) whole() {
	m := l.declare("whole", 700, entering(metal3v1alpha1.StateRegistering), nil,
		entering(metal3v1alpha1.StateInspecting), entering(metal3v1alpha1.StatePreparing), entering(metal3v1alpha1.StateAvailable))
	m.state(metal3v1alpha1.StateAvailable)
	m.well()
	if m.host.Status.HardwareDetails == nil || m.Power() != "Off" || len(m.Starts()) > 0 {
		l.Errorf("power %s, started %v, %s", m.Power(), m.Starts(), m.told())
	}
	m.killedAt(l, m.provision, entering(metal3v1alpha1.StateProvisioning), step("insert"), step("boot Cd"), step("on"), entering(metal3v1alpha1.StateProvisioned))
	m.state(metal3v1alpha1.StateProvisioned)
	m.well()
	m.holds("On", []string{image}, "Cd "+image)
	m.killedAt(l, func() { m.annotate(api.BootImageAnnotation, api.BootImageInstalled) },
		step("eject"), point{name: "medium ejected", write: api.MediumEjectedAnnotation + `":"`})
	m.eventually("medium ejected", func() bool { m.read(); return m.host.Annotations[api.MediumEjectedAnnotation] != "" })
	m.well()
	m.holds("On", nil, "Cd "+image)
	m.killedAt(l, m.delete, entering(metal3v1alpha1.StateDeprovisioning), step("off"), entering(metal3v1alpha1.StatePoweringOffBeforeDelete),
		point{name: string(metal3v1alpha1.StateDeleting), write: `"finalizers":null`})
	m.gone()
	m.holds("Off", nil, "Cd "+image)
}

// holds: the machine is so, was started so and no more, and nobody pestered its BMC.
func (m *machine) holds(power string, media []string, starts ...string) {
	m.Helper()
	if m.Power() != power || !slices.Equal(m.Media(), media) || !slices.Equal(m.Starts(), starts) {
		m.Errorf("%s: power %s, media %v, started %v; want %s, %v, %v", m.host.Name, m.Power(), m.Media(), m.Starts(), power, media, starts)
	}
	if counts := m.Counts(); counts.AtOnce > 2 || counts.WrongLogins > 0 {
		m.Errorf("%s: %d requests at a time, %d wrong logins", m.host.Name, counts.AtOnce, counts.WrongLogins)
	}
}

func (l *life) external() {
	m := l.declare("external", 701, entering(metal3v1alpha1.StateRegistering), func(m *machine) {
		m.host.Labels, m.host.Spec.ExternallyProvisioned, m.host.Spec.Online = nil, true, true
	}, entering(metal3v1alpha1.StateExternallyProvisioned), step("on"))
	m.state(metal3v1alpha1.StateExternallyProvisioned)
	m.powered(true)
	m.well()
	m.holds("On", nil, "Hdd")
	m.killedAt(l, m.delete, entering(metal3v1alpha1.StatePoweringOffBeforeDelete), step("off"))
	m.gone()
	m.holds("Off", nil, "Hdd")
}

func (l *life) unmanaged() {
	m := l.declare("unmanaged", 702, entering(metal3v1alpha1.StateUnmanaged), func(m *machine) { m.host.Spec.BMC = metal3v1alpha1.BMCDetails{} })
	m.state(metal3v1alpha1.StateUnmanaged)
	m.killedAt(l, m.delete, point{name: string(metal3v1alpha1.StateDeleting), write: `"finalizers":null`})
	m.gone()
	m.holds("Off", nil)
}

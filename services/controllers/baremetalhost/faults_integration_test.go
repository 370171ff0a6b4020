//go:build integration

package baremetalhost_test

import (
	"strings"
	"testing"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/scripted"
	"github.com/slipway-io/slipway/services/bmh"
)

// fault of one host, whose BMC has a profile.
type fault struct {
	name    string
	profile int
	// down from the beginning.
	down bool
	test func(*machine)
}

// testFaults: each names its cause in the status, and the host goes on by itself when it is gone.
func testFaults(t *testing.T, w *scene) {
	profiles := scripted.Profiles()
	for i, f := range faults() {
		t.Run(strings.ReplaceAll(f.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			inner := w.with(t)
			m := inner.declare("fault-"+strings.ReplaceAll(f.name, " ", "-"), profiles[f.profile], scripted.Options{Seed: uint64(100 + i)}, func(m *machine) {
				m.Fault(func(now *scripted.Faults) { now.Down = f.down })
			})
			f.test(m)
			m.delete()
			m.gone()
			if counts := m.Counts(); counts.AtOnce > 2 || counts.Sessions > 1 || counts.WrongPasswords > 1 {
				t.Errorf("%d requests at a time, %d sessions, one wrong password tried %d times", counts.AtOnce, counts.Sessions, counts.WrongPasswords)
			}
		})
	}
}

func (m *machine) provision() {
	m.Helper()
	m.edit(func(h *metal3v1alpha1.BareMetalHost) { h.Spec.Image, h.Spec.Online = liveISO(image), true })
}

func (m *machine) provisioned() {
	m.Helper()
	m.state(metal3v1alpha1.StateAvailable)
	m.provision()
	m.state(metal3v1alpha1.StateProvisioned)
	m.well()
}

func faults() []fault { return append(unanswered(), refused()...) }

func dead(down bool) func(*scripted.Faults) { return func(f *scripted.Faults) { f.Down = down } }

// unanswered: the BMC does not do its work.
func unanswered() []fault {
	return []fault{
		{"dead before it registers", 0, true, func(m *machine) {
			m.fails(bmc.Unreachable, metal3v1alpha1.RegistrationError)
			m.Fault(dead(false))
			m.state(metal3v1alpha1.StateAvailable)
			m.well()
		}},
		{"dead when the secret changes", 0, false, func(m *machine) {
			m.state(metal3v1alpha1.StateAvailable)
			m.Fault(dead(true))
			m.password("scripted-password ") // written again: it registers anew
			m.fails(bmc.Unreachable, metal3v1alpha1.RegistrationError)
			m.Fault(dead(false))
			m.well()
		}},
		{"dead while it runs", 1, false, func(m *machine) {
			m.provisioned()
			m.Fault(dead(true))
			m.fails(bmc.Unreachable, metal3v1alpha1.PowerManagementError)
			m.Fault(dead(false))
			m.well()
		}},
		{"storm", 2, false, func(m *machine) {
			m.provisioned()
			m.Fault(func(f *scripted.Faults) { f.Storm = true })
			m.fails(bmc.Busy, metal3v1alpha1.PowerManagementError)
			m.Fault(func(f *scripted.Faults) { f.Storm = false })
			m.well()
		}},
		{"half bodies", 3, false, func(m *machine) {
			m.provisioned()
			m.Fault(func(f *scripted.Faults) { f.HalfBody = true })
			m.fails(bmc.Protocol, metal3v1alpha1.PowerManagementError)
			m.Fault(func(f *scripted.Faults) { f.HalfBody = false })
			m.well()
		}},
		{"no session to be had", 4, false, func(m *machine) {
			m.state(metal3v1alpha1.StateAvailable)
			m.Fault(func(f *scripted.Faults) { f.SessionTableFull = true })
			m.DropSessions()
			m.fails(bmc.SessionLimit, metal3v1alpha1.PowerManagementError)
			m.Fault(func(f *scripted.Faults) { f.SessionTableFull = false })
			m.well()
		}},
		{"power stuck", 1, false, func(m *machine) {
			m.state(metal3v1alpha1.StateAvailable)
			m.Fault(func(f *scripted.Faults) { f.StuckTask = true })
			m.edit(func(h *metal3v1alpha1.BareMetalHost) {
				delete(h.Labels, api.InfraEnvLabel) // with it the machine would wait for its image
				h.Spec.Online = true
			})
			m.fails(bmc.Stuck, metal3v1alpha1.PowerManagementError)
			m.Fault(func(f *scripted.Faults) { f.StuckTask = false })
			m.well()
		}},
	}
}

// refused: the BMC works, and something that it is told is wrong.
func refused() []fault {
	return []fault{
		{"password rotated", 5, false, func(m *machine) {
			m.provisioned()
			m.Rotate("new-password")
			m.fails(bmc.Refused, metal3v1alpha1.ProvisionedRegistrationError)
			time.Sleep(3 * time.Second) // polls that do not log in
			if wrong := m.Counts().WrongPasswords; wrong != 1 {
				m.Errorf("wrong password tried %d times", wrong)
			}
			m.password("new-password")
			m.well()
			if m.host.Status.Provisioning.State != metal3v1alpha1.StateProvisioned || len(m.Starts()) != 1 {
				m.Errorf("%s, started %v", m.told(), m.Starts())
			}
		}},
		{"medium unreachable", 2, false, mediumUnreachable},
		{"medium unreachable at once", 6, false, mediumUnreachable},
		{"unlicensed", 0, false, unlicensed},
		{"certificate of nobody", 0, false, func(m *machine) {
			m.provisioned()
			other, err := scripted.SelfSigned()
			m.Must(err)
			m.SetCertificate(other)
			m.Fault(dead(true)) // what is connected stays connected
			m.fails(bmc.TLS, metal3v1alpha1.PowerManagementError)
			m.Fault(dead(false))
			if !strings.Contains(m.host.Status.ErrorMessage, api.BMCCAAnnotation) {
				m.Error(m.told())
			}
			m.trusted(m.pem())
			m.well()
		}},
		{"no secret", 0, false, func(m *machine) {
			m.provisioned()
			m.Must(m.Delete(m.Context(), m.secret))
			m.fails(bmh.Secret, metal3v1alpha1.ProvisionedRegistrationError)
			m.secret.ResourceVersion, m.secret.UID = "", ""
			m.Must(m.Create(m.Context(), m.secret))
			m.well()
		}},
		{"no way to boot", 0, false, func(m *machine) {
			m.state(metal3v1alpha1.StateAvailable)
			m.edit(func(h *metal3v1alpha1.BareMetalHost) {
				h.Spec.Image, h.Spec.Online = &metal3v1alpha1.Image{URL: "http://192.0.2.1/disk.qcow2", Checksum: "x"}, true
			})
			m.fails(bmh.Unbootable, metal3v1alpha1.ProvisioningError)
			m.provision()
			m.state(metal3v1alpha1.StateProvisioned)
			m.well()
		}},
		{"back in discovery", 4, false, backInDiscovery},
	}
}

func backInDiscovery(m *machine) {
	m.provisioned()
	m.annotate(api.BootImageAnnotation, api.BootImageInstalled)
	m.eventually("ejected", func() bool { m.read(); return m.host.Annotations[api.MediumEjectedAnnotation] != "" })
	m.annotate(api.BootCorrectionAnnotation, "1")
	m.eventually("corrected", func() bool { m.read(); return m.host.Annotations[api.BootCorrectedAnnotation] == "1" })
	if starts := m.Starts(); starts[len(starts)-1] != "Hdd" || len(starts) != 2 {
		m.Errorf("started %v", starts)
	}
	m.annotate(api.BootCorrectionAnnotation, "2")
	m.fails(bmh.BootOrder, metal3v1alpha1.ProvisioningError)
	m.bare(api.BootCorrectionAnnotation)
	m.well()
}

func mediumUnreachable(m *machine) {
	m.state(metal3v1alpha1.StateAvailable)
	m.Fault(func(f *scripted.Faults) { f.MediaUnreachable = true })
	m.provision()
	m.fails(bmc.Media, metal3v1alpha1.ProvisioningError)
	m.Fault(func(f *scripted.Faults) { f.MediaUnreachable = false })
	m.state(metal3v1alpha1.StateProvisioned)
	m.well()
}

// unlicensed virtual media are gone without where there is another way, and told where there is none.
func unlicensed(m *machine) {
	m.state(metal3v1alpha1.StateAvailable)
	m.Fault(func(f *scripted.Faults) { f.Unlicensed = true })
	m.annotate(api.BootMethodWantedAnnotation, bmh.VirtualMedia)
	m.provision()
	m.fails(bmc.License, metal3v1alpha1.ProvisioningError)
	m.bare(api.BootMethodWantedAnnotation)
	m.state(metal3v1alpha1.StateProvisioned)
	m.well()
	if method := m.host.Annotations[api.BootMethodAnnotation]; !strings.HasPrefix(method, bmh.HTTP+": ") || !strings.Contains(method, "license") {
		m.Errorf("booted by %s", method)
	}
}

// testDeletionEnds although nothing can be done with the BMC.
func testDeletionEnds(t *testing.T, w *scene) {
	for name, spoil := range map[string]func(*machine){
		"unreachable":       func(m *machine) { m.Fault(func(f *scripted.Faults) { f.Down = true }) },
		"without-secret":    func(m *machine) { m.Must(m.Delete(m.Context(), m.secret)) },
		"wrong-credentials": func(m *machine) { m.Rotate("another") },
		"stuck":             func(m *machine) { m.Fault(func(f *scripted.Faults) { f.StuckTask = true }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inner := w.with(t)
			m := inner.declare("delete-"+name, scripted.Profiles()[1], scripted.Options{Seed: 200}, nil)
			m.provisioned()
			spoil(m)
			m.delete()
			m.gone()
			m.eventually("an Event says so", func() bool { return strings.Contains(m.reasons(), "GaveUp") })
		})
	}
}

// TestIntegrationRefusedOnce also by an appliance that was started again.
func TestIntegrationRefusedOnce(t *testing.T) {
	t.Parallel()
	w := start(t)
	inner := w.with(t)
	m := inner.declare("refused-once", scripted.Profiles()[2], scripted.Options{Seed: 320}, nil)
	m.provisioned()
	m.Rotate("new-password")
	m.fails(bmc.Refused, metal3v1alpha1.ProvisionedRegistrationError)
	w.kill()
	w.run()
	time.Sleep(3 * time.Second)
	if wrong := m.Counts().WrongPasswords; wrong != 1 {
		t.Errorf("wrong password tried %d times", wrong)
	}
	m.password("new-password")
	m.well()
	m.delete()
	m.gone()
}

//go:build integration

package baremetalhost_test

import (
	"strings"
	"testing"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc/scripted"
)

func (m *machine) powered(on bool) {
	m.Helper()
	m.eventually("power", func() bool { m.read(); return m.host.Status.PoweredOn == on })
}

// custom is something that is asked of one host, first before it is created.
type custom struct {
	name  string
	first func(*machine)
	test  func(*machine)
}

// testAnnotations of the API, and what the spec says beside the image.
func testAnnotations(t *testing.T, w *scene) {
	for i, one := range append(annotated(), specified()...) {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			inner := w.with(t)
			m := inner.declare("x-"+one.name, scripted.Profiles()[0], scripted.Options{Seed: uint64(400 + i)}, one.first)
			one.test(m)
			if one.name != "detached" {
				m.delete()
				m.gone()
			}
		})
	}
}

func annotated() []custom {
	return []custom{
		{"inspected-again", nil, func(m *machine) {
			m.state(metal3v1alpha1.StateAvailable)
			first := m.host.Status.OperationHistory.Inspect.Start
			time.Sleep(1100 * time.Millisecond) // the API's times have seconds
			m.annotate(api.InspectAnnotation, "")
			m.eventually("inspected again", func() bool {
				m.read()
				_, asked := m.host.Annotations[api.InspectAnnotation]
				return !asked && m.host.Status.Provisioning.State == metal3v1alpha1.StateAvailable && first.Before(&m.host.Status.OperationHistory.Inspect.Start)
			})
		}},
		{"not-inspected", func(m *machine) { m.host.Annotations[api.InspectAnnotation] = "disabled" }, func(m *machine) {
			m.state(metal3v1alpha1.StateAvailable)
			if m.host.Status.HardwareDetails != nil {
				m.Error("was inspected")
			}
		}},
		{"restarted", nil, func(m *machine) {
			m.provisioned()
			m.annotate(api.RebootAnnotation, "")
			m.eventually("restarted, and the annotation gone", func() bool {
				m.read()
				_, still := m.host.Annotations[api.RebootAnnotation]
				return len(m.Starts()) == 2 && m.host.Status.PoweredOn && !still
			})
			m.annotate(api.RebootAnnotation+"/a", `{"mode":"hard"}`)
			m.annotate(api.RebootAnnotation+"/b", "")
			m.powered(false)
			m.bare(api.RebootAnnotation + "/a")
			time.Sleep(2 * time.Second)
			m.read()
			if m.host.Status.PoweredOn {
				m.Error("is on although one annotation is left")
			}
			m.bare(api.RebootAnnotation + "/b")
			m.powered(true)
		}},
		{"paused", func(m *machine) { m.host.Annotations[api.PausedAnnotation] = "x" }, func(m *machine) {
			time.Sleep(2 * time.Second)
			m.read()
			if m.Counts().Requests > 0 || m.host.Status.Provisioning.State != "" || len(m.host.Finalizers) > 0 {
				m.Error(m.told())
			}
			m.bare(api.PausedAnnotation)
			m.state(metal3v1alpha1.StateAvailable)
		}},
		{"detached", nil, detached},
	}
}

func detached(m *machine) {
	m.provisioned()
	m.annotate(api.DetachedAnnotation, "")
	m.eventually("detached", func() bool {
		m.read()
		return m.host.Status.OperationalStatus == metal3v1alpha1.OperationalStatusDetached
	})
	m.edit(func(h *metal3v1alpha1.BareMetalHost) { h.Spec.Online = false })
	time.Sleep(2 * time.Second)
	if m.Power() != "On" {
		m.Error("a detached host was switched")
	}
	m.bare(api.DetachedAnnotation)
	m.powered(false)
	m.well()
	m.annotate(api.DetachedAnnotation, "")
	m.delete()
	m.gone()
}

func specified() []custom {
	return []custom{
		{"external", func(m *machine) { m.host.Spec.ExternallyProvisioned, m.host.Spec.Online = true, true }, func(m *machine) {
			m.state(metal3v1alpha1.StateExternallyProvisioned)
			m.powered(true)
			if starts := m.Starts(); len(starts) != 1 || starts[0] != "Hdd" {
				m.Errorf("started %v", starts)
			}
			m.edit(func(h *metal3v1alpha1.BareMetalHost) { h.Spec.Online = false })
			m.powered(false)
		}},
		{"unmanaged", func(m *machine) { m.host.Spec.BMC = metal3v1alpha1.BMCDetails{} }, func(m *machine) {
			m.state(metal3v1alpha1.StateUnmanaged)
			if m.host.Status.OperationalStatus != metal3v1alpha1.OperationalStatusDiscovered {
				m.Error(m.told())
			}
		}},
		{"image-changed", nil, func(m *machine) {
			m.provisioned()
			m.edit(func(h *metal3v1alpha1.BareMetalHost) { h.Spec.Image = liveISO("http://192.0.2.1/other.iso") })
			m.eventually("other image", func() bool {
				m.read()
				starts := m.Starts()
				return m.host.Status.Provisioning.Image.URL == "http://192.0.2.1/other.iso" && starts[len(starts)-1] == "Cd http://192.0.2.1/other.iso"
			})
			m.edit(func(h *metal3v1alpha1.BareMetalHost) { h.Spec.Image, h.Spec.Online = nil, false })
			m.state(metal3v1alpha1.StateAvailable)
			if len(m.Media()) > 0 || m.Power() != "Off" {
				m.Errorf("media %v, power %s", m.Media(), m.Power())
			}
		}},
		{"by-pxe", func(m *machine) { m.host.Annotations[api.BootMethodWantedAnnotation] = "pxe" }, func(m *machine) { m.startedFrom("Pxe", "pxe") }},
		{"by-http", func(m *machine) { m.host.Annotations[api.BootMethodWantedAnnotation] = "http" }, func(m *machine) {
			m.startedFrom("UefiHttp http://192.0.2.1:8080/loaders/snponly.efi", "http")
		}},
		{"legacy", func(m *machine) { m.host.Spec.BootMode = metal3v1alpha1.Legacy }, func(m *machine) { m.startedFrom("Cd "+image, "virtual-media") }},
		{"fields-without-effect", func(m *machine) { m.host.Spec.HardwareProfile = "dell" }, func(m *machine) {
			m.state(metal3v1alpha1.StateAvailable)
			m.edit(func(h *metal3v1alpha1.BareMetalHost) { h.Spec.NetworkData = &corev1.SecretReference{Name: "network"} })
			m.eventually("two Events", func() bool { return strings.Count(m.reasons(), "NotApplied") == 2 })
		}},
		{"insecure", func(m *machine) {
			delete(m.host.Annotations, api.BMCCAAnnotation)
			m.host.Spec.BMC.DisableCertificateVerification = true
		}, func(m *machine) { m.state(metal3v1alpha1.StateAvailable) }},
	}
}

func (m *machine) startedFrom(from, method string) {
	m.Helper()
	m.provisioned()
	if starts := m.Starts(); len(starts) != 1 || starts[0] != from || !strings.HasPrefix(m.host.Annotations[api.BootMethodAnnotation], method+": ") {
		m.Errorf("started %v; %s", starts, m.told())
	}
}

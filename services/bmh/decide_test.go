package bmh

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	allSeen   = []Seen{Lost, Fresh, Known, Inspected, Running, Stale}
	allWanted = []Wanted{Gone, Nothing, Power, Inspection, Inventory, Image}
)

// TestDecideEveryPair has every triple in one table for people to read.
func TestDecideEveryPair(t *testing.T) {
	var table strings.Builder
	for _, state := range States() {
		for _, seen := range allSeen {
			for _, want := range allWanted {
				intent := Decide(state, seen, want)
				fmt.Fprintf(&table, "%-26q %-9s %-10s → %s", state, seen, want, intent.Do)
				if intent.Next != state {
					fmt.Fprintf(&table, ", then %s", intent.Next)
				}
				table.WriteByte('\n')
			}
		}
	}
	const golden = "testdata/decide.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if table.String() != string(want) {
		t.Errorf("the table is another one; look at the difference after go test -update\n%s", table.String())
	}
}

// after is what a step makes of what is seen.
func after(do Action, seen Seen) Seen {
	switch do {
	case Register:
		return Known
	case Inspect, CleanUp:
		return Inspected
	case Boot, Adopt:
		return Running
	case Reinspect:
		return Known
	}
	return seen
}

// TestDecideArrives: from every state and whatever is seen, what is wanted is reached in few steps, and stays.
func TestDecideArrives(t *testing.T) {
	ends := map[Wanted][]Intent{
		Gone:       {{Release, deleting}},
		Nothing:    {{Rest, unmanaged}, {Rest, provisioning}, {Rest, provisioned}, {Rest, external}, {Rest, deprovisioning}},
		Power:      {{Keep, external}, {Keep, provisioned}},
		Inspection: {{Keep, available}, {Keep, provisioned}},
		Inventory:  {{Keep, available}},
		Image:      {{Keep, provisioned}},
	}
	for _, state := range States() {
		for _, seen := range allSeen {
			for _, want := range allWanted {
				if seen == Lost && want != Gone {
					continue
				}
				now, at, asked := seen, state, want
				var intent Intent
				arrived := false
				for range 12 {
					intent = Decide(at, now, asked)
					for _, end := range ends[want] {
						arrived = arrived || intent == end
					}
					if arrived {
						break
					}
					now, at = after(intent.Do, now), intent.Next
					if intent.Do == Reinspect {
						asked = Inventory
					}
				}
				if !arrived {
					t.Errorf("%q, %s, %s: ends with %v", state, seen, want, intent)
				}
			}
		}
	}
}

func TestOldStates(t *testing.T) {
	if got := Decide(metal3v1alpha1.StateReady, Inspected, Image); got != (Intent{Move, provisioning}) {
		t.Errorf("ready: %v", got)
	}
	if got := Decide(metal3v1alpha1.StateMatchProfile, Inspected, Inventory); got != (Intent{Prepare, available}) {
		t.Errorf("match profile: %v", got)
	}
}

func host(change func(*metal3v1alpha1.BareMetalHost)) *metal3v1alpha1.BareMetalHost {
	h := &metal3v1alpha1.BareMetalHost{}
	h.Spec.BMC = metal3v1alpha1.BMCDetails{Address: "redfish://h", CredentialsName: "s"}
	h.Spec.Online = true
	change(h)
	return h
}

func TestWant(t *testing.T) {
	live := "live-iso"
	image := &metal3v1alpha1.Image{URL: "http://h/a.iso", DiskFormat: &live}
	for name, row := range map[string]struct {
		change func(*metal3v1alpha1.BareMetalHost)
		want   Wanted
	}{
		"new":        {func(*metal3v1alpha1.BareMetalHost) {}, Inventory},
		"no BMC":     {func(h *metal3v1alpha1.BareMetalHost) { h.Spec.BMC = metal3v1alpha1.BMCDetails{} }, Nothing},
		"external":   {func(h *metal3v1alpha1.BareMetalHost) { h.Spec.ExternallyProvisioned = true }, Power},
		"image":      {func(h *metal3v1alpha1.BareMetalHost) { h.Spec.Image = image }, Image},
		"image, off": {func(h *metal3v1alpha1.BareMetalHost) { h.Spec.Image, h.Spec.Online = image, false }, Inventory},
		"image runs, off": {func(h *metal3v1alpha1.BareMetalHost) {
			h.Spec.Image, h.Spec.Online, h.Status.Provisioning.Image = image, false, *image
		}, Image},
		"custom deploy": {func(h *metal3v1alpha1.BareMetalHost) { h.Spec.CustomDeploy = &metal3v1alpha1.CustomDeploy{Method: "x"} }, Image},
		"inspect": {func(h *metal3v1alpha1.BareMetalHost) {
			h.Annotations, h.Status.Provisioning.State = map[string]string{"inspect.metal3.io": ""}, available
		}, Inspection},
		"inspect, provisioned": {func(h *metal3v1alpha1.BareMetalHost) {
			h.Annotations, h.Status.Provisioning.State, h.Spec.Image = map[string]string{"inspect.metal3.io": ""}, provisioned, image
		}, Image},
		"no inspection": {func(h *metal3v1alpha1.BareMetalHost) {
			h.Annotations, h.Status.Provisioning.State = map[string]string{"inspect.metal3.io": "disabled"}, available
		}, Inventory},
		"deleted": {func(h *metal3v1alpha1.BareMetalHost) {
			h.DeletionTimestamp, h.Spec.BMC = &metav1.Time{Time: time.Now()}, metal3v1alpha1.BMCDetails{}
		}, Gone},
	} {
		if got := Want(host(row.change)); got != row.want {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
}

func TestSee(t *testing.T) {
	running := host(func(h *metal3v1alpha1.BareMetalHost) {
		h.Spec.Image = &metal3v1alpha1.Image{URL: "a"}
		h.Status.Provisioning.Image.URL = "a"
	})
	stale := running.DeepCopy()
	stale.Spec.Image.URL = "b"
	installed := stale.DeepCopy()
	installed.Annotations = map[string]string{"slipway.io/boot-image": "installed"}
	inspected := host(func(h *metal3v1alpha1.BareMetalHost) { h.Status.HardwareDetails = &metal3v1alpha1.HardwareDetails{} })
	uninspected := host(func(h *metal3v1alpha1.BareMetalHost) {
		h.Annotations = map[string]string{"inspect.metal3.io": "disabled"}
	})
	for name, row := range map[string]struct {
		host             *metal3v1alpha1.BareMetalHost
		registered, lost bool
		want             Seen
	}{
		"lost": {running, true, true, Lost}, "fresh": {running, false, false, Fresh}, "running": {running, true, false, Running},
		"stale": {stale, true, false, Stale}, "installed": {installed, true, false, Running}, "inspected": {inspected, true, false, Inspected}, "not to be inspected": {uninspected, true, false, Inspected},
		"known": {host(func(*metal3v1alpha1.BareMetalHost) {}), true, false, Known},
	} {
		if got := See(row.host, row.registered, row.lost); got != row.want {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
}

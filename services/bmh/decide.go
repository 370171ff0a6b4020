// Package bmh decides about BareMetalHosts: a table from (state, seen, wanted) to an intent; the controller beside it carries out.
package bmh

import (
	"slices"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"

	"github.com/slipway-io/slipway/services/api"
)

// State of a host, the words of metal3.io.
type State = metal3v1alpha1.ProvisioningState

// States that a host can be in, in the order of its life.
func States() []State {
	return []State{
		metal3v1alpha1.StateNone, metal3v1alpha1.StateUnmanaged, metal3v1alpha1.StateRegistering, metal3v1alpha1.StateInspecting,
		metal3v1alpha1.StatePreparing, metal3v1alpha1.StateAvailable, metal3v1alpha1.StateProvisioning, metal3v1alpha1.StateProvisioned,
		metal3v1alpha1.StateExternallyProvisioned, metal3v1alpha1.StateDeprovisioning, metal3v1alpha1.StatePoweringOffBeforeDelete,
		metal3v1alpha1.StateDeleting,
	}
}

// Seen is what is known of a host, the most that is.
type Seen string

// What can be seen.
const (
	// Lost: it is to go, and its BMC could not be used for longer than the patience that deletion has.
	Lost Seen = "lost"
	// Fresh: its BMC has not yet accepted these credentials.
	Fresh Seen = "fresh"
	// Known: its BMC is, its hardware is not.
	Known Seen = "known"
	// Inspected: its hardware is known, or nobody wants to know it.
	Inspected Seen = "inspected"
	// Running the image that the spec has.
	Running Seen = "running"
	// Stale: running an image that the spec has no more.
	Stale Seen = "stale"
)

// Wanted is what the user wants of a host.
type Wanted string

// What can be wanted.
const (
	// Gone: the object is deleted.
	Gone Wanted = "gone"
	// Nothing: the spec has no BMC.
	Nothing Wanted = "nothing"
	// Power alone: something else provisioned it.
	Power Wanted = "power"
	// Inspection once more.
	Inspection Wanted = "inspection"
	// Inventory: to be known, and to wait.
	Inventory Wanted = "inventory"
	// Image: to run the image of the spec.
	Image Wanted = "image"
)

// Action is a step with a host; only those above Move touch its BMC.
type Action string

// The actions.
const (
	// Register: try the credentials, see what the BMC can do.
	Register Action = "register"
	// Inspect the hardware through the BMC.
	Inspect Action = "inspect"
	// Prepare the host for its first image.
	Prepare Action = "prepare"
	// Boot the image of the spec.
	Boot Action = "boot"
	// Keep power and boot source as they are wanted.
	Keep Action = "keep"
	// CleanUp: medium out, boot override off, power off, no image.
	CleanUp Action = "clean up"
	// PowerOff for good.
	PowerOff Action = "power off"
	// Move to the next state, nothing else.
	Move Action = "move"
	// Reinspect forgets the hardware.
	Reinspect Action = "forget hardware"
	// Adopt the image of the spec as the one that runs.
	Adopt Action = "adopt"
	// Release the object: its finalizer goes.
	Release Action = "release"
	// Rest until something changes.
	Rest Action = "rest"
)

// Intent is what to do, and the state that the host is in when it is done.
type Intent struct {
	Do   Action
	Next State
}

// row of the table. What is empty means all; the first row that fits counts.
type row struct {
	in   []State
	seen []Seen
	want []Wanted
	do   Action
	next State
}

const (
	none           = metal3v1alpha1.StateNone
	unmanaged      = metal3v1alpha1.StateUnmanaged
	registering    = metal3v1alpha1.StateRegistering
	inspecting     = metal3v1alpha1.StateInspecting
	preparing      = metal3v1alpha1.StatePreparing
	available      = metal3v1alpha1.StateAvailable
	provisioning   = metal3v1alpha1.StateProvisioning
	provisioned    = metal3v1alpha1.StateProvisioned
	external       = metal3v1alpha1.StateExternallyProvisioned
	deprovisioning = metal3v1alpha1.StateDeprovisioning
	poweringOff    = metal3v1alpha1.StatePoweringOffBeforeDelete
	deleting       = metal3v1alpha1.StateDeleting
)

var rows = []row{
	// Deletion is not taken back, but an object may come out of a backup like this.
	{in: []State{poweringOff, deleting}, want: []Wanted{Nothing, Power, Inspection, Inventory, Image}, do: Move, next: registering},
	// The way out.
	{in: []State{deleting}, do: Release},
	{in: []State{none, unmanaged, registering}, want: []Wanted{Gone}, do: Move, next: deleting},
	{in: []State{inspecting, preparing, available, external}, want: []Wanted{Gone}, do: Move, next: poweringOff},
	{in: []State{provisioning, provisioned}, want: []Wanted{Gone}, do: Move, next: deprovisioning},
	{in: []State{deprovisioning}, seen: []Seen{Lost}, want: []Wanted{Gone}, do: Move, next: poweringOff},
	{in: []State{poweringOff}, seen: []Seen{Lost}, do: Move, next: deleting},
	{in: []State{poweringOff}, seen: []Seen{Fresh}, do: Register},
	{in: []State{poweringOff}, do: PowerOff, next: deleting},
	// Without a BMC.
	{in: []State{none, registering, inspecting, preparing, available}, want: []Wanted{Nothing}, do: Move, next: unmanaged},
	{want: []Wanted{Nothing}, do: Rest},
	{in: []State{none, unmanaged}, do: Move, next: registering},
	// Whatever is to be done, the BMC has to accept the credentials first.
	{seen: []Seen{Lost, Fresh}, do: Register},
	{in: []State{deprovisioning}, want: []Wanted{Gone}, do: CleanUp, next: poweringOff},
	{in: []State{deprovisioning}, do: CleanUp, next: available},
	// The way in.
	{in: []State{registering, inspecting, preparing, available}, want: []Wanted{Power}, do: Move, next: external},
	{in: []State{registering, available}, seen: []Seen{Running}, want: []Wanted{Image}, do: Move, next: provisioned},
	{in: []State{registering, preparing, available}, seen: []Seen{Known}, do: Move, next: inspecting},
	{in: []State{registering}, seen: []Seen{Running, Stale}, do: Move, next: provisioned},
	{in: []State{registering}, do: Move, next: preparing},
	{in: []State{inspecting}, seen: []Seen{Known}, do: Inspect, next: preparing},
	{in: []State{inspecting}, do: Move, next: preparing},
	{in: []State{preparing}, do: Prepare, next: available},
	{in: []State{available}, seen: []Seen{Running, Stale}, do: Move, next: deprovisioning},
	{in: []State{available}, want: []Wanted{Inspection}, do: Reinspect, next: inspecting},
	{in: []State{available}, want: []Wanted{Image}, do: Move, next: provisioning},
	{in: []State{available}, do: Keep},
	// With an image.
	{in: []State{provisioning, provisioned}, seen: []Seen{Stale}, do: Move, next: deprovisioning},
	{in: []State{provisioning}, want: []Wanted{Inventory, Power}, do: Move, next: deprovisioning},
	{in: []State{provisioning}, seen: []Seen{Running}, do: Move, next: provisioned},
	{in: []State{provisioning}, do: Boot, next: provisioned},
	{in: []State{provisioned}, want: []Wanted{Inventory}, do: Move, next: deprovisioning},
	{in: []State{provisioned}, seen: []Seen{Known, Inspected}, want: []Wanted{Image}, do: Move, next: provisioning},
	{in: []State{provisioned}, do: Keep},
	{in: []State{external}, want: []Wanted{Power}, do: Keep},
	{in: []State{external}, want: []Wanted{Image}, do: Adopt, next: provisioned},
	{in: []State{external}, do: Move, next: deprovisioning},
}

// Decide what to do with a host. States that only old objects have are mapped first.
func Decide(state State, seen Seen, want Wanted) Intent {
	switch state {
	case metal3v1alpha1.StateMatchProfile:
		state = preparing
	case metal3v1alpha1.StateReady:
		state = available
	}
	for _, r := range rows {
		if fits(r.in, state) && fits(r.seen, seen) && fits(r.want, want) {
			next := r.next
			if next == none {
				next = state
			}
			return Intent{r.do, next}
		}
	}
	return Intent{Rest, state}
}

func fits[T comparable](set []T, one T) bool { return len(set) == 0 || slices.Contains(set, one) }

// Want reads the spec, the annotations and what was begun.
func Want(host *metal3v1alpha1.BareMetalHost) Wanted {
	image := host.Spec.Image != nil && host.Spec.Image.URL != "" || host.Spec.CustomDeploy != nil && host.Spec.CustomDeploy.Method != ""
	_, inspect := host.Annotations[metal3v1alpha1.InspectAnnotationPrefix]
	switch {
	case Leaves(host):
		return Gone
	case !host.HasBMCDetails():
		return Nothing
	case host.Spec.ExternallyProvisioned:
		return Power
	case inspect && !InspectionDisabled(host) && host.Status.Provisioning.State == available:
		return Inspection
	// A host that is to be off keeps its image, and gets none.
	case image && (host.Spec.Online || host.Status.Provisioning.Image.URL != "" || host.Status.Provisioning.State == external):
		return Image
	default:
		return Inventory
	}
}

// Leaves says that a host is deleted and that nothing on it is still in use: bmac may be draining its node.
func Leaves(host *metal3v1alpha1.BareMetalHost) bool {
	return !host.DeletionTimestamp.IsZero() && !slices.Contains(host.Finalizers, api.BMACFinalizer)
}

// See reads the status; registered is whether the BMC accepted the credentials as they are now, lost whether deletion has waited
// long enough.
func See(host *metal3v1alpha1.BareMetalHost, registered, lost bool) Seen {
	running := host.Status.Provisioning.Image.URL
	switch {
	case lost:
		return Lost
	case !registered:
		return Fresh
	case running != "" && host.Spec.Image != nil && (host.Spec.Image.URL == running || Installed(host)):
		// An installed host runs from its disk: another discovery image is for its next discovery.
		return Running
	case running != "":
		return Stale
	case host.Status.HardwareDetails != nil || InspectionDisabled(host):
		return Inspected
	default:
		return Known
	}
}

// InspectionDisabled by the annotation.
func InspectionDisabled(host *metal3v1alpha1.BareMetalHost) bool {
	return host.Annotations[metal3v1alpha1.InspectAnnotationPrefix] == metal3v1alpha1.InspectAnnotationValueDisabled
}

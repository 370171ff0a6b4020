package bmh

import (
	"strings"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
)

// Kinds of failure beside those of a BMC: mistakes in what was written.
const (
	// Secret with the credentials is missing or incomplete.
	Secret bmc.FaultKind = "Secret"
	// Address of the BMC is none.
	Address bmc.FaultKind = "Address"
	// Trust: a ConfigMap with a CA is missing or has none.
	Trust bmc.FaultKind = "CA"
	// Unbootable: the image cannot be booted here.
	Unbootable bmc.FaultKind = "Image"
	// BootOrder: the machine does not start from its disk.
	BootOrder bmc.FaultKind = "BootOrder"
)

// mistakes are mended by who wrote them, and the watch tells when.
var mistakes = map[bmc.FaultKind]bool{
	Secret: true, Address: true, Trust: true, Unbootable: true, bmc.Refused: true, bmc.Forbidden: true, bmc.License: true, bmc.Unsupported: true,
}

const (
	firstRetry, lastRetry = 5 * time.Second, time.Minute
	mistakeRetry          = 5 * time.Minute
	// countLimit is where counting ends, so that a host that stays broken is not written for ever.
	countLimit = 9
)

// Backoff until the next try after so many failures in a row: doubling up to a minute, so that what is mended is seen within
// one poll of the power.
func Backoff(kind bmc.FaultKind, failures int) time.Duration {
	if mistakes[kind] {
		return mistakeRetry
	}
	wait := firstRetry
	for i := 1; i < failures && wait < lastRetry; i++ {
		wait *= 2
	}
	return min(wait, lastRetry)
}

// Patience is how long a host that is to go is tried to be cleaned up and powered off.
type Patience struct {
	// Mistake: nothing can be done without who wrote it. Trouble: the BMC may come back.
	Mistake, Trouble time.Duration
}

// Over whether a host that is to go has waited long enough.
func (p Patience) Over(host *metal3v1alpha1.BareMetalHost, now time.Time) bool {
	if !Leaves(host) || host.Status.ErrorMessage == "" {
		return false
	}
	waited := now.Sub(host.DeletionTimestamp.Time)
	return waited >= p.Trouble || mistakes[FailureKind(host.Status)] && waited >= p.Mistake
}

// Fail notes a failure in the status, whose message begins with its kind; registered is whether the BMC accepted the credentials.
// It is true when the failure is another one than before.
func Fail(status *metal3v1alpha1.BareMetalHostStatus, registered bool, kind bmc.FaultKind, message string) bool {
	if kind == "" {
		kind = bmc.Protocol
	}
	text := string(kind) + ": " + message
	news := status.OperationalStatus != metal3v1alpha1.OperationalStatusError || FailureKind(*status) != kind
	// The same failure in other words, such as with another port in them, is no reason to write.
	if news || status.ErrorCount < countLimit || mistakes[kind] {
		status.ErrorMessage = text
	}
	status.ErrorCount = min(status.ErrorCount+1, countLimit)
	status.OperationalStatus = metal3v1alpha1.OperationalStatusError
	status.ErrorType = errorType(status, registered)
	return news
}

// errorType by what was to be done.
func errorType(status *metal3v1alpha1.BareMetalHostStatus, registered bool) metal3v1alpha1.ErrorType {
	switch state := status.Provisioning.State; {
	case !registered && (state == provisioned || state == external || state == deprovisioning):
		return metal3v1alpha1.ProvisionedRegistrationError
	case !registered || state == registering || state == none || state == unmanaged:
		return metal3v1alpha1.RegistrationError
	case state == inspecting:
		return metal3v1alpha1.InspectionError
	case state == preparing:
		return metal3v1alpha1.PreparationError
	case state == provisioning || state == deprovisioning || FailureKind(*status) == BootOrder:
		return metal3v1alpha1.ProvisioningError
	default:
		return metal3v1alpha1.PowerManagementError
	}
}

// Succeed clears a failure; it is true when there was one.
func Succeed(status *metal3v1alpha1.BareMetalHostStatus) bool {
	had := status.OperationalStatus == metal3v1alpha1.OperationalStatusError
	status.OperationalStatus = metal3v1alpha1.OperationalStatusOK
	status.ErrorType, status.ErrorMessage, status.ErrorCount = "", "", 0
	return had
}

// Await notes that a host which is well waits for an image that is not there, or no longer does. Its message is that of a failure, of
// the kind Unbootable, and nothing is tried again for it: bmac tells when there is an image.
func Await(host *metal3v1alpha1.BareMetalHost) {
	why, status := host.Annotations[api.AwaitedAnnotation], &host.Status
	awaits := why != "" && status.Provisioning.State == available && host.Labels[api.InfraEnvLabel] != "" && host.Spec.Image == nil
	switch delayed := status.OperationalStatus == metal3v1alpha1.OperationalStatusDelayed; {
	case awaits && (delayed || status.OperationalStatus == metal3v1alpha1.OperationalStatusOK):
		status.OperationalStatus, status.ErrorMessage = metal3v1alpha1.OperationalStatusDelayed, string(Unbootable)+": "+why
	case delayed:
		status.OperationalStatus, status.ErrorMessage = metal3v1alpha1.OperationalStatusOK, ""
	}
}

// FailureKind that the status tells of, empty when there is none.
func FailureKind(status metal3v1alpha1.BareMetalHostStatus) bmc.FaultKind {
	kind, _, found := strings.Cut(status.ErrorMessage, ": ")
	if !found {
		return ""
	}
	return bmc.FaultKind(kind)
}

// Retriable failures of a single poll are not told before a second one: they are the daily noise of BMCs.
func Retriable(kind bmc.FaultKind) bool {
	switch kind {
	case bmc.Unreachable, bmc.Busy, bmc.Protocol, bmc.SessionLimit:
		return true
	}
	return false
}

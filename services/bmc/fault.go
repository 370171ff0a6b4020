package bmc

import (
	"errors"
	"fmt"
)

// FaultKind is why a BMC did not do as asked, so that conditions can name the cause and the next step.
type FaultKind string

// The kinds.
const (
	// Unreachable: no answer at all, or none in time.
	Unreachable FaultKind = "Unreachable"
	// TLS: the certificate is not trusted, has another name, or changed to an unknown issuer's.
	TLS FaultKind = "TLS"
	// Refused credentials; the same ones are not tried again.
	Refused FaultKind = "Credentials"
	// Forbidden: logged in, but the account's role does not suffice.
	Forbidden FaultKind = "Forbidden"
	// SessionLimit: the BMC's table of sessions is full.
	SessionLimit FaultKind = "SessionLimit"
	// Busy: 429, 5xx, or an own message that it is not ready.
	Busy FaultKind = "Busy"
	// Media: the BMC cannot read the image's URL.
	Media FaultKind = "Media"
	// License: the BMC knows the operation but wants to be paid for it.
	License FaultKind = "License"
	// Unsupported: no rung of the ladder is understood.
	Unsupported FaultKind = "Unsupported"
	// Stuck: accepted, but the task or the state did not come to its end in time.
	Stuck FaultKind = "Stuck"
	// Protocol: an answer that is cut, too large, not JSON or not Redfish.
	Protocol FaultKind = "Protocol"
)

// Fault is every error of a BMC that is not the caller's own.
type Fault struct {
	Kind FaultKind
	// Rung that was tried last, empty outside ladders.
	Rung string
	Err  error
}

// Error names the rung when there is one; it never holds credentials.
func (f *Fault) Error() string {
	if f.Rung != "" {
		return fmt.Sprintf("%s: %v", f.Rung, f.Err)
	}
	return f.Err.Error()
}

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Kind of the fault in err, empty when there is none.
func Kind(err error) FaultKind {
	var fault *Fault
	if errors.As(err, &fault) {
		return fault.Kind
	}
	return ""
}

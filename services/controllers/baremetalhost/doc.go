// Package baremetalhost carries out what services/bmh decides about BareMetalHosts: one BMC, one host, one step at a time.
//
// It alone writes BareMetalHost.status, HardwareData, the finalizer, and the annotations of a host that api/names.go gives to it.
// Every step may be interrupted and is then done again from its beginning: all of them end in the same state.
package baremetalhost

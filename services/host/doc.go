// Package host decides what a host under slipway-agent does next: states, events, validations, steps, stages and conditions.
//
// It does no I/O. Events of the wire (Register, CheckIn, SetInventory, Progress, InstallEnded, ReclaimEnded) are carried out by
// services/agentapi; Refresh, which follows the Agent's spec, by services/controllers/agent. Every function changes the
// given Agent's status in place and is followed by one write with an optimistic lock.
package host

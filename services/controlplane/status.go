package controlplane

import (
	"errors"
	"time"
)

// ErrNotFound is returned by drivers for a control plane that was never applied, or was deleted.
var ErrNotFound = errors.New("control plane not found")

// Status is what a driver knows about a control plane.
type Status struct {
	// Components are in the order of the description.
	Components []ComponentStatus `json:"components"`
	// Bounds tells how memory and CPU are bounded: "cgroup v1", "cgroup v2" or why they are not.
	Bounds string `json:"bounds,omitempty"`
}

// ComponentStatus is the state of one component.
type ComponentStatus struct {
	Name    string `json:"name"`
	Ready   bool   `json:"ready"`
	Running bool   `json:"running"`
	// PID is 0 unless the driver runs processes on this machine.
	PID int `json:"pid,omitempty"`
	// Restarts counts the starts after the first one that were not asked for by a changed description.
	Restarts int       `json:"restarts"`
	Started  time.Time `json:"started,omitzero"`
	Message  string    `json:"message,omitempty"`
}

// Ready tells whether there are components and all of them are ready.
func (s Status) Ready() bool {
	for _, c := range s.Components {
		if !c.Ready {
			return false
		}
	}
	return len(s.Components) > 0
}

// Component returns the status of one component, zero if there is none of that name.
func (s Status) Component(name string) ComponentStatus {
	for _, c := range s.Components {
		if c.Name == name {
			return c
		}
	}
	return ComponentStatus{Name: name}
}

// Package shim supervises the processes of one control plane; it outlives the appliance that started it.
//
// A shim works in one directory and is known by two things in it alone: a lock that it holds and a
// socket that it answers on. There are no PID files. Its children die with it (parent death signal),
// each of them holds a lock of its own, and a new shim waits for those locks before it starts anything.
package shim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Names in the directory of a control plane.
const (
	PlanFile   = "plan.json"
	SocketFile = "shim.sock"
	LockFile   = "lock"
	LogDir     = "logs"
	runDir     = "run"
)

// Plan is what a shim shall run.
type Plan struct {
	Name       string      `json:"name"`
	Components []Component `json:"components"`
}

// Component is one process, with everything about it decided.
type Component struct {
	Name string `json:"name"`
	// Hash stands for everything that a running process cannot take over; another one means a restart.
	Hash        string        `json:"hash"`
	Argv        []string      `json:"argv"`
	Env         []string      `json:"env,omitempty"`
	Dir         string        `json:"dir,omitempty"`
	Ready       *Probe        `json:"ready,omitempty"`
	Live        *Probe        `json:"live,omitempty"`
	After       []string      `json:"after,omitempty"`
	MemoryBytes int64         `json:"memoryBytes,omitempty"`
	CPUMillis   int64         `json:"cpuMillis,omitempty"`
	CPUWeight   int64         `json:"cpuWeight,omitempty"`
	HeavyStart  bool          `json:"heavyStart,omitempty"`
	StopGrace   time.Duration `json:"stopGrace,omitempty"`
}

// Probe is an HTTPS request if Path is set, else a TCP connection.
type Probe struct {
	Addr       string `json:"addr"`
	Path       string `json:"path,omitempty"`
	CA         string `json:"ca,omitempty"`
	Cert       string `json:"cert,omitempty"`
	Key        string `json:"key,omitempty"`
	ServerName string `json:"serverName,omitempty"`
}

// Encode returns the plan as it stands in its file.
func (p Plan) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return data, nil
}

// Digest names the content of a plan file.
func Digest(plan []byte) string {
	sum := sha256.Sum256(plan)
	return hex.EncodeToString(sum[:])
}

func readPlan(dir string) (Plan, string, error) {
	data, err := os.ReadFile(filepath.Join(dir, PlanFile))
	if err != nil {
		return Plan{}, "", fmt.Errorf("read plan: %w", err)
	}
	var plan Plan
	if err := json.Unmarshal(data, &plan); err != nil {
		return Plan{}, "", fmt.Errorf("read plan: %w", err)
	}
	return plan, Digest(data), nil
}

// Status is a shim's answer.
type Status struct {
	// Revision counts changes of this status.
	Revision uint64 `json:"revision"`
	// Plan is the digest of the plan that is carried out.
	Plan       string            `json:"plan"`
	Bounds     string            `json:"bounds"`
	Components []ComponentStatus `json:"components"`
}

// ComponentStatus is the state of one process.
type ComponentStatus struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid,omitempty"`
	Ready    bool      `json:"ready"`
	Restarts int       `json:"restarts"`
	Started  time.Time `json:"started,omitzero"`
	Message  string    `json:"message,omitempty"`
}

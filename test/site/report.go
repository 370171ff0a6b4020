package site

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Report prints steps with their time since the start and keeps them.
type Report struct {
	mu      sync.Mutex
	out     io.Writer
	started time.Time
	steps   []Step
}

// Step is one line of a Report.
type Step struct {
	At   time.Duration
	Host string
	What string
}

// NewReport starts the clock.
func NewReport(out io.Writer) *Report {
	return &Report{out: out, started: time.Now()}
}

// Say notes and prints a step.
func (r *Report) Say(host, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	step := Step{At: time.Since(r.started), Host: host, What: fmt.Sprintf(format, args...)}
	r.steps = append(r.steps, step)
	fmt.Fprintf(r.out, "%7.1fs  %-10s %s\n", step.At.Seconds(), step.Host, step.What)
}

// Steps so far.
func (r *Report) Steps() []Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Step(nil), r.steps...)
}

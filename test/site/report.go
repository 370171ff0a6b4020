package site

import (
	"fmt"
	"io"
	"os"
	"strings"
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

// milestones of a machine in the words of its steps, in their order.
var milestones = []struct{ name, word string }{
	{"power on", "power on"},
	{"in the inventory", "agent known-unbound"},
	{"installation starts", "agent installing"},
	{"disk written", "Rebooting"},
	{"installed OS is up", "Configuring"},
	{"node joined", "Joined"},
	{"node Ready", "node Ready"},
}

// Milestones prints when each machine was where, in seconds since its power-on.
func (r *Report) Milestones(machines []*Machine) {
	steps := r.Steps()
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "\nseconds since power-on:\n%-22s", "")
	for _, machine := range machines {
		fmt.Fprintf(r.out, "%12s", machine.Name)
	}
	fmt.Fprintln(r.out)
	for _, milestone := range milestones {
		fmt.Fprintf(r.out, "%-22s", milestone.name)
		for _, machine := range machines {
			from, there := earliest(steps, machine.Name, milestones[0].word), earliest(steps, machine.Name, milestone.word)
			if from < 0 || there < 0 {
				fmt.Fprintf(r.out, "%12s", "-")
				continue
			}
			fmt.Fprintf(r.out, "%12.1f", (there - from).Seconds())
		}
		fmt.Fprintln(r.out)
	}
}

// earliest time that a host's steps say the word; negative when they never do.
func earliest(steps []Step, host, word string) time.Duration {
	for _, step := range steps {
		if step.Host == host && strings.Contains(step.What, word) {
			return step.At
		}
	}
	return -1
}

// LastWords are the ends of the files that a person would look at first.
func (s *Site) LastWords(say func(format string, args ...any)) {
	files := []string{s.ApplianceLog()}
	for _, machine := range s.Machines {
		files = append(files, machine.Console())
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		say("end of %s:\n%s", file, text[max(0, len(text)-6000):])
	}
}

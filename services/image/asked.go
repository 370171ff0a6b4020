package image

import "sync"

// machinesRemembered bounds the memory of what was logged.
const machinesRemembered = 4096

// asked remembers what waits were logged: a machine that waits asks every few seconds.
type asked struct {
	mu    sync.Mutex
	waits map[string]string
}

func newAsked() *asked { return &asked{waits: map[string]string{}} }

// news says whether an answer is worth a line: every boot is, a wait only when it is another one.
func (a *asked) news(by machine, given answer) bool {
	key := by.query()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !given.waits {
		delete(a.waits, key)
		return true
	}
	if a.waits[key] == given.what {
		return false
	}
	if len(a.waits) >= machinesRemembered {
		clear(a.waits)
	}
	a.waits[key] = given.what
	return true
}

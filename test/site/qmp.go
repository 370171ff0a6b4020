package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// monitor is the connection to a running QEMU, which speaks with one peer at a time.
type monitor struct {
	mu      sync.Mutex
	conn    net.Conn
	answers chan answer
}

// answer of QEMU, or an event that nobody asked for.
type answer struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class, Desc string
	} `json:"error"`
	Event string         `json:"event"`
	Data  map[string]any `json:"data"`
}

// mediumAgain is how long after a failed read of its medium a machine goes on: a BMC, too, asks again for what its server does not give.
const mediumAgain = time.Second

// watch connects to the QEMU that was just started in a directory; ended is closed when it ends.
func watch(dir, socket string, ended chan struct{}) (*monitor, error) {
	// Through /proc the path stays short, however deep the site's directory is.
	directory, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open directory of machine: %w", err)
	}
	defer directory.Close()
	path := fmt.Sprintf("/proc/self/fd/%d/%s", directory.Fd(), socket)
	var conn net.Conn
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if conn, err = net.Dial("unix", path); err == nil {
			break
		}
		select {
		case <-ended:
			return nil, errors.New("QEMU ended at once, qemu.log says why")
		default:
		}
		if time.Since(begin) > 30*time.Second {
			return nil, fmt.Errorf("reach QEMU: %w", err)
		}
	}
	m := &monitor{conn: conn, answers: make(chan answer)}
	answers := json.NewDecoder(conn)
	var greeting json.RawMessage
	if err := answers.Decode(&greeting); err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet QEMU: %w", err)
	}
	go m.read(answers)
	return m, m.do(context.Background(), "qmp_capabilities", nil)
}

// read until QEMU ends.
func (m *monitor) read(answers *json.Decoder) {
	defer m.conn.Close()
	for {
		var one answer
		if err := answers.Decode(&one); err != nil {
			close(m.answers)
			return
		}
		switch {
		case one.Event == "BLOCK_IO_ERROR" && one.Data["action"] == "stop":
			time.AfterFunc(mediumAgain, func() {
				// A machine that has ended needs no more of it.
				_ = m.do(context.Background(), "cont", nil)
			})
		case one.Event == "":
			m.answers <- one
		}
	}
}

// do a command and wait for its answer.
func (m *monitor) do(ctx context.Context, command string, arguments map[string]any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	body := map[string]any{"execute": command}
	if arguments != nil {
		body["arguments"] = arguments
	}
	if err := json.NewEncoder(m.conn).Encode(body); err != nil {
		return fmt.Errorf("ask QEMU for %s: %w", command, err)
	}
	// QEMU answers each command, so that waiting less would only take the answer for the next one's.
	one, open := <-m.answers
	switch {
	case !open:
		return fmt.Errorf("ask QEMU for %s: it ended", command)
	case one.Error != nil:
		return fmt.Errorf("ask QEMU for %s: %s: %s", command, one.Error.Class, one.Error.Desc)
	}
	return ctx.Err()
}

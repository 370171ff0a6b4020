package shim

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
)

// Size of a log file before it is put aside, and how many of those are kept.
const (
	logSize = 8 << 20
	logKeep = 3
	// tailSize is how much of a program's last words stand in its status.
	tailSize = 400
)

// rotatingLog is a file that is put aside when it is full.
type rotatingLog struct {
	path string
	file *os.File
	size int64

	mu   sync.Mutex
	tail []byte // the end of what was written last
}

func openLog(path string) (*rotatingLog, error) {
	l := &rotatingLog{path: path}
	return l, l.open()
}

func (l *rotatingLog) open() error {
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return fmt.Errorf("open log: %w", err)
	}
	l.file, l.size = file, info.Size()
	return nil
}

// Write never fails: a full disk must not stop the program that logs.
func (l *rotatingLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.tail = append(l.tail[:0], p[max(0, len(p)-tailSize):]...)
	l.mu.Unlock()
	if l.size+int64(len(p)) > logSize {
		l.rotate()
	}
	if l.file != nil {
		n, _ := l.file.Write(p)
		l.size += int64(n)
	}
	return len(p), nil
}

// lastLine is what the program said last: mostly why it ended.
func (l *rotatingLog) lastLine() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(l.tail), []byte("\n"))
	return string(lines[len(lines)-1])
}

func (l *rotatingLog) rotate() {
	l.Close()
	for i := logKeep; i > 1; i-- {
		_ = os.Rename(numbered(l.path, i-1), numbered(l.path, i))
	}
	_ = os.Rename(l.path, numbered(l.path, 1))
	_ = l.open()
}

func numbered(path string, i int) string { return fmt.Sprintf("%s.%d", path, i) }

// copy writes everything that the program says, until it ends.
func (l *rotatingLog) copy(from io.Reader) {
	_, _ = io.CopyBuffer(struct{ io.Writer }{l}, struct{ io.Reader }{from}, make([]byte, 16<<10))
}

func (l *rotatingLog) Close() {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

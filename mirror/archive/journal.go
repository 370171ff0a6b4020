package archive

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/slipway-io/slipway/mirror/durable"
)

// journal remembers how much of each blob is in its place.
type journal struct {
	mu    sync.Mutex
	file  *os.File
	done  map[string]int64
	names map[int]string // that segments were given at the end
	fresh bool
}

type journalLine struct {
	Layout string `json:"layout,omitempty"`
	Blob   string `json:"blob,omitempty"`
	Done   int64  `json:"done,omitempty"`
	Part   int    `json:"part,omitempty"`
	Name   string `json:"name,omitempty"`
}

// openJournal continues the journal of the same layout, or starts one.
func openJournal(path, layout string) (*journal, error) {
	j := &journal{done: map[string]int64{}, names: map[int]string{}, fresh: true}
	if file, err := os.Open(path); err == nil {
		j.read(file, layout)
		file.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	var head []byte
	encode := func(line journalLine) error {
		raw, err := json.Marshal(line)
		head = append(append(head, raw...), '\n')
		return err
	}
	err := encode(journalLine{Layout: layout})
	for digest, done := range j.done {
		err = errors.Join(err, encode(journalLine{Blob: digest, Done: done}))
	}
	for part, name := range j.names {
		err = errors.Join(err, encode(journalLine{Part: part, Name: name}))
	}
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if err := durable.Write(path, head, 0o644); err != nil {
		return nil, err
	}
	if j.file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return j, nil
}

func (j *journal) read(r io.Reader, layout string) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var line journalLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			continue // half a line of a killed run
		}
		switch {
		case line.Layout != "":
			j.fresh = line.Layout != layout
		case j.fresh:
		case line.Name != "":
			j.names[line.Part] = line.Name
		default:
			j.done[line.Blob] = line.Done
		}
	}
}

func (j *journal) at(digest string) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done[digest]
}

func (j *journal) note(digest string, done int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done[digest] = done
	raw, err := json.Marshal(journalLine{Blob: digest, Done: done})
	if err == nil {
		_, err = j.file.Write(append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("note in journal: %w", err)
	}
	return nil
}

// name notes what segments are called from now on, and waits until that is on disk.
func (j *journal) name(segments []Segment) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var lines []byte
	for n, s := range segments {
		j.names[n] = s.Name
		raw, err := json.Marshal(journalLine{Part: n, Name: s.Name})
		if err != nil {
			return fmt.Errorf("note in journal: %w", err)
		}
		lines = append(append(lines, raw...), '\n')
	}
	_, err := j.file.Write(lines)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("note in journal: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }

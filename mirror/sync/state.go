package sync

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/slipway-io/slipway/mirror/durable"
)

// entry is a line of a state file: one thing that is at the target, or an upload that was begun.
type entry struct {
	Repository string `json:"repository"`
	Blob       string `json:"blob,omitempty"`
	Location   string `json:"location,omitempty"` // of an upload of Blob; absent when the blob is there
	Manifest   string `json:"manifest,omitempty"`
	Tag        string `json:"tag,omitempty"` // of Manifest
}

// contents is what a repository of the target has.
type contents struct {
	blobs     map[string]bool
	manifests map[string]bool
	tags      map[string]string
	uploads   map[string]string // locations by blob
}

// State is what is known of a target, kept in a file that grows line by line: a run that is killed loses nothing that the target has answered.
type State struct {
	mu           sync.Mutex
	synced       time.Time
	path         string
	file         *os.File
	repositories map[string]*contents
	holders      map[string][]string // repositories by blob
}

const (
	maxStateLine = 1 << 20
	// syncEvery is how much of what was done a run may forget whose disk is pulled out.
	syncEvery = 2 * time.Second
)

// OpenState reads a state file, which need not exist, and continues it.
func OpenState(path string) (*State, error) {
	s := &State{path: path, repositories: map[string]*contents{}, holders: map[string][]string{}}
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open state: %w", err)
	}
	if err := s.read(bytes.NewReader(raw)); err != nil {
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	// Locations of uploads may carry secrets of the registry.
	if err := durable.Write(path, s.encode(true), 0o600); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	if s.file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	return s, nil
}

// ReadBlobs lists the blobs that a state file says a target has.
func ReadBlobs(r io.Reader) (map[string]bool, error) {
	s := &State{repositories: map[string]*contents{}, holders: map[string][]string{}}
	if err := s.read(r); err != nil {
		return nil, err
	}
	blobs := map[string]bool{}
	for digest := range s.holders {
		blobs[digest] = true
	}
	return blobs, nil
}

func (s *State) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxStateLine)
	for lines.Scan() {
		var e entry
		// The last line may be half: its run was killed while it wrote.
		if err := json.Unmarshal(lines.Bytes(), &e); err == nil {
			s.apply(e)
		}
	}
	return lines.Err()
}

func (s *State) repository(path string) *contents {
	c := s.repositories[path]
	if c == nil {
		c = &contents{blobs: map[string]bool{}, manifests: map[string]bool{}, tags: map[string]string{}, uploads: map[string]string{}}
		s.repositories[path] = c
	}
	return c
}

func (s *State) apply(e entry) {
	c := s.repository(e.Repository)
	switch {
	case e.Blob != "" && e.Location != "":
		c.uploads[e.Blob] = e.Location
	case e.Blob != "":
		delete(c.uploads, e.Blob)
		if !c.blobs[e.Blob] {
			c.blobs[e.Blob] = true
			s.holders[e.Blob] = append(s.holders[e.Blob], e.Repository)
		}
	case e.Manifest != "":
		c.manifests[e.Manifest] = true
		if e.Tag != "" {
			c.tags[e.Tag] = e.Manifest
		}
	}
}

// note records entries in memory and on disk.
func (s *State) note(entries ...entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []byte
	for _, e := range entries {
		s.apply(e)
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("note in state: %w", err)
		}
		lines = append(append(lines, line...), '\n')
	}
	_, err := s.file.Write(lines)
	if now := time.Now(); err == nil && now.Sub(s.synced) > syncEvery {
		s.synced = now
		err = s.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("note in state: %w", err)
	}
	return nil
}

// forget drops what was believed of a repository: the target has said otherwise.
func (s *State) forget(repository string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.repositories, repository)
	for blob, holders := range s.holders {
		if at := slices.Index(holders, repository); at >= 0 {
			s.holders[blob] = slices.Delete(holders, at, at+1)
		}
	}
}

// drop forgets one blob of a repository.
func (s *State) drop(repository, blob string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.repositories[repository]; c != nil {
		delete(c.blobs, blob)
	}
	if at := slices.Index(s.holders[blob], repository); at >= 0 {
		s.holders[blob] = slices.Delete(s.holders[blob], at, at+1)
	}
}

// encode writes the state as lines, sorted; begun uploads only where they are wanted.
func (s *State) encode(uploads bool) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	write := func(e entry) { _ = encoder.Encode(e) } // a buffer takes everything
	for _, path := range slices.Sorted(maps.Keys(s.repositories)) {
		c := s.repositories[path]
		for _, blob := range slices.Sorted(maps.Keys(c.blobs)) {
			write(entry{Repository: path, Blob: blob})
		}
		for _, digest := range slices.Sorted(maps.Keys(c.manifests)) {
			write(entry{Repository: path, Manifest: digest})
		}
		for _, tag := range slices.Sorted(maps.Keys(c.tags)) {
			write(entry{Repository: path, Manifest: c.tags[tag], Tag: tag})
		}
		for _, blob := range slices.Sorted(maps.Keys(c.uploads)) {
			if uploads {
				write(entry{Repository: path, Blob: blob, Location: c.uploads[blob]})
			}
		}
	}
	return out.Bytes()
}

// Export is the state without what is of use to this run alone: to be carried back to where archives are made.
func (s *State) Export() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.encode(false)
}

// Close makes the state last.
func (s *State) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.file.Sync()
	if closeErr := s.file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return nil
}

func (s *State) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.repositories) == 0
}

func (s *State) has(repository, blob string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.repositories[repository]
	return c != nil && c.blobs[blob]
}

// holder is a repository that has the blob, other than the given one; empty without one.
func (s *State) holder(blob, but string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, repository := range s.holders[blob] {
		if repository != but {
			return repository
		}
	}
	return ""
}

func (s *State) upload(repository, blob string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.repositories[repository]; c != nil {
		return c.uploads[blob]
	}
	return ""
}

package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"time"
)

const (
	sessionFile = "session"
	dataFile    = "data"

	maxTransfers = 4096      // that wait for their next part
	pieceSize    = 256 << 10 // read, hashed and written at a time
	roomEvery    = 16 << 20  // bytes between two looks at the disk's room
	tellEvery    = time.Minute
)

// session is what a transfer needs beside its bytes to go on in another process.
type session struct {
	Repository string `json:"repository"`
	Algorithm  string `json:"algorithm"`
	// Digest of a transfer of this process's own, which is found by it.
	Digest string `json:"digest,omitempty"`
}

// transfer is a blob on its way in.
type transfer struct {
	registry *Registry
	id       string
	session  session
	size     atomic.Int64
	touched  atomic.Int64  // Unix nanoseconds
	turn     chan struct{} // who filled it works on the rest
	hash     hash.Hash     // of the bytes so far; nil: not computed
	looked   int64         // size when the disk's room was last looked at
	told     time.Time     // when the repository last heard that its push goes on
	gone     bool
}

// transfers are those under way, by id.
type transfers struct {
	mu   sync.Mutex
	byID map[string]*transfer
}

func (t *transfers) add(u *transfer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[u.id] = u
}

// all is a copy.
func (t *transfers) all() []*transfer {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*transfer, 0, len(t.byID))
	for _, u := range t.byID {
		list = append(list, u)
	}
	return list
}

// begin opens a transfer; one of this process's own goes on where an earlier one ended.
func (r *Registry) begin(s session) (*transfer, error) {
	id := rand.Text()
	if s.Digest != "" {
		id = path.Base(s.Algorithm + "-" + s.Digest[len(s.Algorithm)+1:])
	}
	r.transfers.mu.Lock()
	defer r.transfers.mu.Unlock()
	if u := r.transfers.byID[id]; u != nil {
		return u, nil
	}
	if len(r.transfers.byID) >= maxTransfers {
		return nil, fmt.Errorf("begin upload: %d run already: %w", maxTransfers, ErrBusy)
	}
	dir := path.Join(uploadsDir, id)
	if err := r.disk.root.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("begin upload: %w", full(err))
	}
	raw, err := json.Marshal(s)
	if err == nil { // what a loss of power takes, the client sends again
		err = r.disk.root.WriteFile(path.Join(dir, sessionFile), raw, 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("begin upload: %w", full(err)), r.disk.root.RemoveAll(dir))
	}
	u := &transfer{registry: r, id: id, session: s, turn: make(chan struct{}, 1)}
	u.touched.Store(r.now().UnixNano())
	r.transfers.byID[id] = u
	return u, nil
}

// find returns a client's transfer into a repository.
func (r *Registry) find(repository, id string) (*transfer, error) {
	r.transfers.mu.Lock()
	defer r.transfers.mu.Unlock()
	u := r.transfers.byID[id]
	if u == nil || u.session.Digest != "" || u.session.Repository != repository {
		return nil, fmt.Errorf("upload: %w", ErrNotFound)
	}
	return u, nil
}

// lock waits for the transfer's turn.
func (u *transfer) lock(ctx context.Context) error {
	select {
	case u.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("upload is being written: %w", ErrBusy)
	}
	return u.mine()
}

// tryLock is lock for who does not wait.
func (u *transfer) tryLock() error {
	select {
	case u.turn <- struct{}{}:
		return u.mine()
	default:
		return fmt.Errorf("upload is being written: %w", ErrBusy)
	}
}

func (u *transfer) mine() error {
	if u.gone {
		u.unlock()
		return fmt.Errorf("upload: %w", ErrNotFound)
	}
	now := u.registry.now()
	u.touched.Store(now.UnixNano())
	u.registry.index.touch(u.session.Repository, now)
	return nil
}

func (u *transfer) unlock() { <-u.turn }

func (u *transfer) path(name string) string { return path.Join(uploadsDir, u.id, name) }

// open returns the file to append to, with the hash of what is in it. With the turn.
func (u *transfer) open() (*os.File, error) {
	f, err := u.registry.disk.root.OpenFile(u.path(dataFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, full(err)
	}
	if u.hash == nil {
		h := newHash(u.session.Algorithm)
		n, err := io.Copy(h, f)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		u.size.Store(n)
		u.hash = h
	}
	return f, nil
}

// write appends to the open file. With the turn.
func (u *transfer) write(f *os.File, p []byte) (int, error) {
	size := u.size.Load()
	if u.looked == 0 || size+int64(len(p))-u.looked >= roomEvery {
		if err := u.registry.disk.room(int64(len(p))); err != nil {
			return 0, err
		}
		u.looked = size + 1
	}
	n, err := f.Write(p)
	u.hash.Write(p[:n])
	u.size.Add(int64(n))
	now := u.registry.now()
	u.touched.Store(now.UnixNano())
	if now.Sub(u.told) > tellEvery { // one blob may take longer than the others of its push are held
		u.told = now
		u.registry.index.touch(u.session.Repository, now)
	}
	return n, full(err)
}

// receive appends a request's body; what arrived of one that breaks off stays. With the turn.
func (u *transfer) receive(body io.Reader) error {
	f, err := u.open()
	if err != nil {
		return fmt.Errorf("write upload: %w", err)
	}
	piece := u.registry.pieces.Get().(*[]byte)
	defer u.registry.pieces.Put(piece)
	source := &watched{Reader: body}
	_, err = io.CopyBuffer(appender{u, f}, source, *piece)
	if err = errors.Join(err, f.Close()); err != nil && source.err != nil {
		return fmt.Errorf("%w: %w", errBroken, source.err)
	}
	if err != nil {
		return fmt.Errorf("write upload: %w", err)
	}
	return nil
}

// errBroken says that the sender's side ended a body, not ours.
var errBroken = errors.New("the connection broke off; the upload can go on from where it is")

// watched tells errors of reading from errors of writing.
type watched struct {
	io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

type appender struct {
	*transfer
	file *os.File
}

func (a appender) Write(p []byte) (int, error) { return a.write(a.file, p) }

// finish makes the bytes a blob, when they are the ones that the digest promises, and ends the transfer either way. With the turn.
func (u *transfer) finish(d digest) error {
	f, err := u.open()
	if err != nil {
		return fmt.Errorf("finish upload: %w", err)
	}
	defer f.Close()
	got, err := u.sum(f, d.algorithm)
	if err == nil && got != d {
		err = fmt.Errorf("%d bytes are %s, not %s: %w", u.size.Load(), got, d, ErrDigest)
	}
	if err == nil {
		err = full(f.Sync())
	}
	if err == nil {
		err = u.registry.commit(u.session.Repository, d, u.path(dataFile), u.size.Load())
	}
	if err = errors.Join(err, u.discard()); err != nil {
		return fmt.Errorf("finish upload: %w", err)
	}
	return nil
}

func (u *transfer) sum(f *os.File, algorithm string) (digest, error) {
	h := u.hash
	if algorithm != u.session.Algorithm { // nobody said at the beginning which one it would be
		h = newHash(algorithm)
		if _, err := io.Copy(h, io.NewSectionReader(f, 0, u.size.Load())); err != nil {
			return digest{}, err
		}
	}
	return digest{algorithm, hex.EncodeToString(h.Sum(nil))}, nil
}

// discard ends the transfer. With the turn; its id is free for another once the files are gone.
func (u *transfer) discard() error {
	err := u.registry.disk.root.RemoveAll(path.Join(uploadsDir, u.id))
	u.gone = true
	t := &u.registry.transfers
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, u.id)
	return err
}

// expire ends transfers that nobody continued.
func (r *Registry) expire() error {
	var faults []error
	limit := r.now().Add(-r.expiry).UnixNano()
	for _, u := range r.transfers.all() {
		if u.touched.Load() > limit {
			continue
		}
		select {
		case u.turn <- struct{}{}:
		default: // somebody is at it
			continue
		}
		if !u.gone {
			r.log.Info("upload has expired", "repository", u.session.Repository, "bytes", u.size.Load(), "touched", time.Unix(0, u.touched.Load()))
			faults = append(faults, u.discard())
		}
		u.unlock()
	}
	return errors.Join(faults...)
}

// commit moves a file that was checked and synced into the store, with a lease for the repository. A damaged copy that was there is healed.
func (r *Registry) commit(repository string, d digest, from string, size int64) error {
	r.index.acquire(d)
	defer r.index.release(d)
	if err := r.disk.place(from, blobPath(d)); err != nil {
		return err
	}
	if err := r.keepLease(repository, d, blobPath(d)); err != nil {
		return err
	}
	r.index.stored(repository, d, size, r.now())
	return nil
}

// keepLease writes the file of a lease: until a manifest names the blob, this holds it.
func (r *Registry) keepLease(repository string, d digest, with ...string) error {
	name := leasePath(repository, d)
	if err := r.disk.folder(path.Dir(name)); err != nil {
		return err
	}
	f, err := r.disk.root.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return full(err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	now := r.now()
	if err := r.disk.root.Chtimes(name, now, now); err != nil {
		return err
	}
	return r.disk.keep(append(with, name)...)
}

// Hold keeps a blob that is there for a push into the repository, until a manifest names it or the push has long ended.
func (r *Registry) Hold(repository, digest string) error {
	d, err := checkBoth(repository, digest)
	if err != nil {
		return err
	}
	r.index.acquire(d)
	defer r.index.release(d)
	size, there := r.index.size(d)
	if !there {
		return fmt.Errorf("hold blob %s: %w", d, ErrNotFound)
	}
	if err := r.keepLease(repository, d); err != nil {
		return fmt.Errorf("hold blob %s: %w", d, err)
	}
	r.index.stored(repository, d, size, r.now())
	return nil
}

func checkBoth(repository, text string) (digest, error) {
	if err := checkRepository(repository); err != nil {
		return digest{}, err
	}
	return parseDigest(text)
}

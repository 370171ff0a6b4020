package registry

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// index is what the store holds, in memory: built from the links at start, changed after the disk was.
type index struct {
	mu           sync.RWMutex
	blobs        map[digest]*blob
	repositories map[string]*repository
	busy         map[digest]chan struct{} // whose files are being changed
}

// blob is content by digest and who needs it. One that a manifest names but that never came is not there.
type blob struct {
	digest  digest
	size    int64
	there   bool
	adopted bool // from an earlier process, whose unwritten leases are not known
	holders map[*repository]*holder
}

// holder is why a repository needs a blob, and whether who reads the repository may read it.
type holder struct {
	manifests int       // that name it
	withheld  int       // of them, those that were pushed by somebody who could not read it: a digest alone opens nothing
	leased    time.Time // held since without a manifest, for a push that runs; zero: no lease
	file      bool      // the lease is on disk
}

// opens tells whether the blob was brought to the repository, or could be read by who pushed a manifest that names it.
func (h *holder) opens() bool { return !h.leased.IsZero() || h.manifests > h.withheld }

// repository is a name and its links.
type repository struct {
	name      string
	writing   sync.Mutex // one change of the links on disk at a time
	manifests map[digest]*manifest
	tags      map[string]digest
	referrers map[digest]map[digest]struct{} // by subject
	hidden    map[digest]struct{}            // deleted here while other repositories keep it
	active    time.Time                      // when a push last did something
}

// manifest is a manifest's link.
type manifest struct {
	mediaType string
	size      int64
	subject   digest
	blobs     []*blob
	withheld  []*blob
}

func newIndex() *index {
	return &index{blobs: map[digest]*blob{}, repositories: map[string]*repository{}, busy: map[digest]chan struct{}{}}
}

// acquire takes the right to change the files of a digest, and waits for it.
func (x *index) acquire(d digest) {
	for {
		x.mu.Lock()
		other, taken := x.busy[d]
		if !taken {
			x.busy[d] = make(chan struct{})
			x.mu.Unlock()
			return
		}
		x.mu.Unlock()
		<-other
	}
}

// tryAcquire is acquire for who has time.
func (x *index) tryAcquire(d digest) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, taken := x.busy[d]; taken {
		return false
	}
	x.busy[d] = make(chan struct{})
	return true
}

func (x *index) release(d digest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	close(x.busy[d])
	delete(x.busy, d)
}

// repository finds or makes a name. With mu held.
func (x *index) repository(name string) *repository {
	r := x.repositories[name]
	if r == nil {
		r = &repository{
			name: name, manifests: map[digest]*manifest{}, tags: map[string]digest{},
			referrers: map[digest]map[digest]struct{}{}, hidden: map[digest]struct{}{},
		}
		x.repositories[name] = r
	}
	return r
}

// open is repository for those who hold no lock.
func (x *index) open(name string) *repository {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.repository(name)
}

// blob finds or makes an entry. With mu held.
func (x *index) blob(d digest) *blob {
	b := x.blobs[d]
	if b == nil {
		b = &blob{digest: d, holders: map[*repository]*holder{}}
		x.blobs[d] = b
	}
	return b
}

// holder finds or makes a repository's reason. With mu held.
func (b *blob) holder(r *repository) *holder {
	h := b.holders[r]
	if h == nil {
		h = &holder{}
		b.holders[r] = h
	}
	return h
}

// drop forgets a reason that is none any more, and the entry with it when nothing is there. With mu held.
func (x *index) drop(b *blob, r *repository) {
	if h := b.holders[r]; h != nil && h.manifests == 0 && h.leased.IsZero() {
		delete(b.holders, r)
	}
	if !b.there && len(b.holders) == 0 {
		delete(x.blobs, b.digest)
	}
}

// known tells whether a repository has content.
func (x *index) known(name string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	r := x.repositories[name]
	return r != nil && len(r.manifests) > 0
}

// size of a blob that is there, whoever holds it.
func (x *index) size(d digest) (int64, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if b := x.blobs[d]; b != nil && b.there {
		return b.size, true
	}
	return 0, false
}

// visible finds a blob for who looks into the named repository: content of any repository that may be read counts.
func (x *index) visible(name string, d digest, reads func(string) bool) (int64, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if r := x.repositories[name]; r != nil {
		if _, hidden := r.hidden[d]; hidden {
			return 0, false
		}
	}
	return x.readable(name, d, reads)
}

// readable is visible, also of what was deleted in the named repository. With mu held.
func (x *index) readable(name string, d digest, reads func(string) bool) (int64, bool) {
	b := x.blobs[d]
	if b == nil || !b.there {
		return 0, false
	}
	for r, h := range b.holders {
		if h.opens() && (r.name == name || reads(r.name)) {
			return b.size, true
		}
	}
	return 0, false
}

// closed lists those of a manifest's blobs that who pushes it cannot read: most often they are not there.
func (x *index) closed(name string, blobs []string, reads func(string) bool) []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.DeleteFunc(slices.Clone(blobs), func(text string) bool {
		d, err := parseDigest(text)
		_, open := x.readable(name, d, reads)
		return err == nil && open
	})
}

// lease holds a blob for a repository's running push, in memory. It reports whether the blob is there.
func (x *index) lease(name string, d digest, now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.blobs[d]
	if b == nil || !b.there {
		return false
	}
	r := x.repository(name)
	r.active = now
	b.holder(r).leased = now
	return true
}

// stored enters content that is on disk, with the lease of who brought it.
func (x *index) stored(name string, d digest, size int64, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.repository(name)
	r.active = now
	delete(r.hidden, d)
	b := x.blob(d)
	b.there, b.size, b.adopted = true, size, false
	h := b.holder(r)
	h.leased, h.file = now, true
}

// touch keeps the leases of a repository while a push does something there.
func (x *index) touch(name string, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.repository(name).active = now
}

// linked enters a manifest. With the repository's writing held; the manifest's own content is on disk.
func (x *index) linked(r *repository, d digest, l link) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.link(r, d, l)
}

// link is linked with mu held. The link was checked.
func (x *index) link(r *repository, d digest, l link) {
	x.unlink(r, d)
	m := &manifest{mediaType: l.MediaType, size: l.Size}
	own := x.blob(d)
	own.there, own.size = true, l.Size
	m.blobs = append(m.blobs, own)
	for _, text := range l.Blobs {
		if named, err := parseDigest(text); err == nil {
			m.blobs = append(m.blobs, x.blob(named))
		}
	}
	for _, b := range m.blobs {
		b.holder(r).manifests++
		delete(r.hidden, b.digest)
	}
	for _, text := range l.Withheld {
		if named, err := parseDigest(text); err == nil {
			b := x.blob(named)
			b.holder(r).withheld++
			m.withheld = append(m.withheld, b)
		}
	}
	if subject, err := parseDigest(l.Subject); err == nil {
		m.subject = subject
		if r.referrers[subject] == nil {
			r.referrers[subject] = map[digest]struct{}{}
		}
		r.referrers[subject][d] = struct{}{}
	}
	r.manifests[d] = m
}

// unlink forgets a manifest, but not its tags. With mu held.
func (x *index) unlink(r *repository, d digest) {
	m := r.manifests[d]
	if m == nil {
		return
	}
	delete(r.manifests, d)
	for _, b := range m.withheld {
		b.holder(r).withheld--
	}
	for _, b := range m.blobs {
		b.holder(r).manifests--
		x.drop(b, r)
	}
	if m.subject == (digest{}) {
		return
	}
	delete(r.referrers[m.subject], d)
	if len(r.referrers[m.subject]) == 0 {
		delete(r.referrers, m.subject)
	}
}

// tagged enters tags.
func (x *index) tagged(r *repository, d digest, tags []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, tag := range tags {
		r.tags[tag] = d
	}
}

// resolve finds a manifest by tag or digest.
func (x *index) resolve(name, reference string) (digest, manifest, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	r := x.repositories[name]
	if r == nil {
		return digest{}, manifest{}, false
	}
	d, err := parseDigest(reference)
	if err != nil {
		d = r.tags[reference]
	}
	m := r.manifests[d]
	if m == nil {
		return digest{}, manifest{}, false
	}
	return d, *m, true
}

// tagsOf lists a repository's tags, sorted; with a digest only those that name it.
func (x *index) tagsOf(name string, only digest) []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	r := x.repositories[name]
	if r == nil {
		return nil
	}
	list := make([]string, 0, len(r.tags))
	for tag, d := range r.tags {
		if only == (digest{}) || d == only {
			list = append(list, tag)
		}
	}
	slices.Sort(list)
	return list
}

// referrersOf lists the manifests whose subject is d, sorted.
func (x *index) referrersOf(name string, d digest) []digest {
	x.mu.RLock()
	defer x.mu.RUnlock()
	r := x.repositories[name]
	if r == nil {
		return nil
	}
	return slices.SortedFunc(maps.Keys(r.referrers[d]), compareDigests)
}

func compareDigests(a, b digest) int {
	if a.String() < b.String() {
		return -1
	}
	if a.String() > b.String() {
		return 1
	}
	return 0
}

// names lists the repositories that have content, sorted.
func (x *index) names() []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var list []string
	for name, r := range x.repositories {
		if len(r.manifests) > 0 {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// hide ends a repository's own claim on a blob.
func (x *index) hide(name string, d digest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.blobs[d]
	if b == nil {
		return
	}
	r := x.repository(name)
	r.hidden[d] = struct{}{}
	if h := b.holders[r]; h != nil {
		h.leased, h.file = time.Time{}, false
		x.drop(b, r)
	}
}

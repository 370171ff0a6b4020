package registry

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// The store's folders: content once for all repositories, links by repository, and what is being written.
const (
	blobsDir        = "blobs"
	repositoriesDir = "repositories"
	uploadsDir      = "uploads"
	lockFile        = "lock"

	// Names in a repository's folder; no repository's component begins with an underscore.
	manifestsDir = "_manifests"
	tagsDir      = "_tags"
	leasesDir    = "_blobs"

	temporary = "tmp-"
)

func blobPath(d digest) string {
	return path.Join(blobsDir, d.algorithm, d.hex[:2], d.hex)
}

func manifestPath(repository string, d digest) string {
	return path.Join(repositoriesDir, repository, manifestsDir, d.algorithm, d.hex)
}

func tagPath(repository, tag string) string {
	return path.Join(repositoriesDir, repository, tagsDir, tag)
}

func leasePath(repository string, d digest) string {
	return path.Join(repositoriesDir, repository, leasesDir, d.algorithm, d.hex)
}

// disk is the folder of the store. What it is told to keep outlives a loss of power once keep returns.
type disk struct {
	root    *os.Root
	lock    *os.File
	minFree int64
	made    sync.Map // folders that are there
}

// openDisk takes the folder for this process alone.
func openDisk(dir string, minFree int64) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	lock, err := root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open registry: %w", err), root.Close())
	}
	d := &disk{root: root, lock: lock, minFree: minFree}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("open registry %s: another process uses it, stop that one first: %w", dir, err), d.close())
	}
	for _, name := range []string{blobsDir, repositoriesDir, uploadsDir} {
		if err := d.folder(name); err != nil {
			return nil, errors.Join(fmt.Errorf("open registry: %w", err), d.close())
		}
	}
	return d, nil
}

func (d *disk) close() error { return errors.Join(d.lock.Close(), d.root.Close()) }

// folder makes a folder, and its name durable.
func (d *disk) folder(name string) error {
	if name == "." {
		return nil
	}
	if _, there := d.made.Load(name); there {
		return nil
	}
	if err := d.folder(path.Dir(name)); err != nil {
		return err
	}
	if err := d.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return full(err)
	}
	if err := d.syncDir(path.Dir(name)); err != nil {
		return err
	}
	d.made.Store(name, struct{}{})
	return nil
}

// stage writes a small file that rename puts into place.
func (d *disk) stage(content []byte) (string, error) {
	name := path.Join(uploadsDir, temporary+rand.Text())
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", full(err)
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(full(err), d.root.Remove(name))
	}
	return name, nil
}

// place moves a file that is whole to where it belongs; keep makes that last.
func (d *disk) place(from, to string) error {
	if err := d.folder(path.Dir(to)); err != nil {
		return err
	}
	return full(d.root.Rename(from, to))
}

// keep makes the names of files last. It syncs side by side, as its callers do: the file system makes one commit of what
// comes together, which took a third of the time of syncing in rounds.
func (d *disk) keep(files ...string) error {
	var group errgroup.Group
	for _, file := range files {
		group.Go(func() error { return d.syncDir(path.Dir(file)) })
	}
	return group.Wait()
}

func (d *disk) syncDir(name string) error {
	dir, err := d.root.Open(name)
	if err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	return nil
}

// placeAll writes small files side by side, puts them into place in order, and makes them last.
func (d *disk) placeAll(names []string, contents ...[]byte) error {
	staged := make([]string, len(names))
	var group errgroup.Group
	for i := range names {
		group.Go(func() (err error) {
			staged[i], err = d.stage(contents[i])
			return err
		})
	}
	err := group.Wait()
	for i, name := range names {
		if err == nil {
			err = d.place(staged[i], name)
		}
		if err != nil && staged[i] != "" {
			err = errors.Join(err, d.remove(staged[i]))
		}
	}
	if err != nil || len(names) == 0 {
		return err
	}
	return d.keep(names...)
}

// remove takes a file away; one that is not there is no error.
func (d *disk) remove(name string) error {
	if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// room says whether n more bytes fit beside what the rest of the machine needs.
func (d *disk) room(n int64) error {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(d.lock.Fd()), &stat); err != nil {
		return fmt.Errorf("look at the registry's disk: %w", err)
	}
	if free := int64(stat.Bavail) * stat.Bsize; free-n < d.minFree {
		return fmt.Errorf("%d MiB are free, %d MiB of them reserved: %w", free>>20, d.minFree>>20, ErrFull)
	}
	return nil
}

// full gives the two errors of a full disk one name.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

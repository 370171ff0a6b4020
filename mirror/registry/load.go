package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

// load builds the index from the links, and clears away what a killed process left half.
func (r *Registry) load() error {
	if err := r.loadBlobs(); err != nil {
		return fmt.Errorf("read blobs: %w", err)
	}
	if err := r.loadRepositories(repositoriesDir); err != nil {
		return fmt.Errorf("read repositories: %w", err)
	}
	if err := r.loadUploads(); err != nil {
		return fmt.Errorf("read uploads: %w", err)
	}
	return nil
}

func (r *Registry) loadBlobs() error {
	return fs.WalkDir(r.disk.root.FS(), blobsDir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		d, err := parseDigest(path.Base(path.Dir(path.Dir(name))) + ":" + path.Base(name))
		if err != nil {
			r.log.Warn("unknown file among the blobs", "file", name)
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		b := r.index.blob(d)
		b.there, b.size, b.adopted = true, info.Size(), true
		return nil
	})
}

// loadRepositories descends to the folders that have links.
func (r *Registry) loadRepositories(dir string) error {
	entries, err := fs.ReadDir(r.disk.root.FS(), dir)
	if err != nil {
		return err
	}
	linked := false
	for _, entry := range entries {
		linked = linked || strings.HasPrefix(entry.Name(), "_")
		if strings.HasPrefix(entry.Name(), "_") || !entry.IsDir() {
			continue
		}
		if err := r.loadRepositories(path.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	name := strings.TrimPrefix(strings.TrimPrefix(dir, repositoriesDir), "/")
	if !linked || checkRepository(name) != nil {
		return nil
	}
	repo := r.index.repository(name)
	return errors.Join(r.loadLeases(repo), r.loadManifests(repo), r.loadTags(repo))
}

// files calls each for the files of a folder that may not be there.
func (r *Registry) files(dir string, each func(name string, entry fs.DirEntry) error) error {
	entries, err := fs.ReadDir(r.disk.root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := each(path.Join(dir, entry.Name()), entry); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) loadLeases(repo *repository) error {
	dir := path.Join(repositoriesDir, repo.name, leasesDir)
	return r.digests(dir, func(name string, d digest, entry fs.DirEntry) error {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		b := r.index.blobs[d]
		if b == nil || !b.there { // its blob never arrived
			return r.disk.remove(name)
		}
		h := b.holder(repo)
		h.leased, h.file = info.ModTime(), true
		if repo.active.Before(h.leased) {
			repo.active = h.leased
		}
		return nil
	})
}

// digests calls each for the files of a folder that are named by algorithm and digest.
func (r *Registry) digests(dir string, each func(name string, d digest, entry fs.DirEntry) error) error {
	for _, algorithm := range []string{sha256Name, sha512Name} {
		err := r.files(path.Join(dir, algorithm), func(name string, entry fs.DirEntry) error {
			d, err := parseDigest(algorithm + ":" + entry.Name())
			if err != nil {
				r.log.Warn("unknown file among a repository's links", "file", name)
				return nil
			}
			return each(name, d, entry)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) loadManifests(repo *repository) error {
	dir := path.Join(repositoriesDir, repo.name, manifestsDir)
	return r.digests(dir, func(name string, d digest, _ fs.DirEntry) error {
		raw, err := r.disk.root.ReadFile(name)
		if err != nil {
			return err
		}
		var l link
		if err := json.Unmarshal(raw, &l); err != nil {
			r.log.Warn("link of a manifest is damaged, push the manifest again", "repository", repo.name, "digest", d.String(), "err", err)
			return nil
		}
		if b := r.index.blobs[d]; b == nil || !b.there || b.size != l.Size {
			r.log.Warn("manifest is gone, push it again", "repository", repo.name, "digest", d.String())
			return nil
		}
		r.index.link(repo, d, l)
		return nil
	})
}

func (r *Registry) loadTags(repo *repository) error {
	dir := path.Join(repositoriesDir, repo.name, tagsDir)
	return r.files(dir, func(name string, entry fs.DirEntry) error {
		raw, err := r.disk.root.ReadFile(name)
		if err != nil {
			return err
		}
		d, err := parseDigest(string(raw))
		if err != nil || repo.manifests[d] == nil || checkTag(entry.Name()) != nil {
			r.log.Warn("tag names a manifest that is gone, push it again", "repository", repo.name, "tag", entry.Name())
			return nil
		}
		repo.tags[entry.Name()] = d
		return nil
	})
}

// loadUploads finds what may be continued. Everything else in the folder is of a process that was killed.
func (r *Registry) loadUploads() error {
	return r.files(uploadsDir, func(name string, entry fs.DirEntry) error {
		raw, err := r.disk.root.ReadFile(path.Join(name, sessionFile))
		var s session
		if err != nil || json.Unmarshal(raw, &s) != nil || checkRepository(s.Repository) != nil {
			return r.disk.root.RemoveAll(name)
		}
		u := &transfer{registry: r, id: entry.Name(), session: s, turn: make(chan struct{}, 1)}
		touched := time.Time{}
		if info, err := r.disk.root.Stat(path.Join(name, dataFile)); err == nil {
			u.size.Store(info.Size())
			touched = info.ModTime()
		}
		u.touched.Store(touched.UnixNano())
		if repo := r.index.repository(s.Repository); repo.active.Before(touched) {
			repo.active = touched
		}
		r.transfers.add(u)
		return nil
	})
}

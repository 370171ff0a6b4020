package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

const (
	// lookAgain is how often the library looks for images that were imported and for sources that are new.
	lookAgain = 10 * time.Second
	// A pull that failed is tried again after a while, which grows.
	firstPause, lastPause = 20 * time.Second, 10 * time.Minute
)

// Library makes the images of a store available while the appliance runs: those that are imported, and those that it pulls.
type Library struct {
	Store *Store
	// Wanted lists what is to be pulled.
	Wanted func(context.Context) ([]Source, error)
	// Add makes an image available, once for each.
	Add func(*OS) error
	// Stamps is the file that OS.Verify keeps.
	Stamps string
	// Client fetches; http.DefaultClient when nil.
	Client *http.Client
	Log    *slog.Logger

	opened map[string]*OS
	pauses map[Source]pause
}

// pause is when a source that failed is asked again.
type pause struct {
	until  time.Time
	length time.Duration
}

// Load opens what is in the store, for the start of the appliance: images that cannot be opened are logged and left out.
func (l *Library) Load(ctx context.Context) error {
	if l.opened == nil {
		l.opened, l.pauses = map[string]*OS{}, map[Source]pause{}
	}
	directories, err := l.Store.Directories()
	if err != nil {
		return err
	}
	for _, dir := range directories {
		if _, known := l.opened[dir]; known {
			continue
		}
		image, err := l.open(ctx, dir)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			l.Log.Error("OS image is left out", "directory", dir, "err", err)
		}
		l.opened[dir] = image
	}
	return nil
}

func (l *Library) open(ctx context.Context, dir string) (*OS, error) {
	image, err := OpenOS(dir)
	if err != nil {
		return nil, err
	}
	err = image.Verify(ctx, l.Stamps, nil)
	if err == nil {
		err = l.Add(image)
	}
	if err != nil {
		return nil, errors.Join(err, image.Close())
	}
	l.Log.Info("OS image is there", "version", image.Version, "arch", image.CPUArchitecture, "openshift", image.OpenShiftVersion)
	return image, nil
}

// Run looks and pulls until ctx ends.
func (l *Library) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		if err := l.look(ctx); err != nil && ctx.Err() == nil {
			l.Log.Error("look for OS images", "err", err)
		}
		select {
		case <-ctx.Done():
			return l.close()
		case <-ticker.C:
		}
	}
}

func (l *Library) close() error {
	var faults []error
	for _, image := range l.opened {
		if image != nil {
			faults = append(faults, image.Close())
		}
	}
	return errors.Join(faults...)
}

func (l *Library) look(ctx context.Context) error {
	if err := l.Load(ctx); err != nil {
		return err
	}
	wanted, err := l.Wanted(ctx)
	if err != nil {
		return fmt.Errorf("read what OS images are wanted: %w", err)
	}
	for _, source := range wanted {
		if l.has(source.Identity) || time.Now().Before(l.pauses[source].until) {
			continue
		}
		if err := l.pull(ctx, source); err != nil {
			return err
		}
	}
	return nil
}

func (l *Library) has(who Identity) bool {
	for _, image := range l.opened {
		if image != nil && image.Version == who.Version && image.CPUArchitecture == who.CPUArchitecture {
			return true
		}
	}
	return false
}

// pull logs what goes wrong, because it is tried again.
func (l *Library) pull(ctx context.Context, source Source) error {
	log := l.Log.With("version", source.Version, "arch", source.CPUArchitecture)
	log.Info("OS image is pulled")
	told := time.Now()
	client := l.Client
	if client == nil {
		client = http.DefaultClient
	}
	_, err := l.Store.Pull(ctx, client, source, func(done, total int64) {
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			log.Info("OS image is pulled", "bytes", done, "of", total)
		}
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		length := min(max(2*l.pauses[source].length, firstPause), lastPause)
		l.pauses[source] = pause{time.Now().Add(length), length}
		log.Error("pull OS image", "err", err, "again", length)
		return nil
	}
	delete(l.pauses, source)
	return l.Load(ctx)
}

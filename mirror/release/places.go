package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// mirroredReleases is the repository that release images are mirrored to, below the target's namespace.
const mirroredReleases = "openshift/release-images"

// MirroredRepositories are those that mirrored releases lie in, as patterns.
func MirroredRepositories() []string {
	return []string{"openshift/release", mirroredReleases, "*/openshift/release", "*/" + mirroredReleases}
}

// machine ends the tag of a mirrored release: <version>-<machine>.
const machine = "-x86_64"

// places of an image in the site's registry, the preferred one first. A digest says what it is wherever it lies, so the repositories that have it come last.
func (s *Store) places(ctx context.Context, view, ref string) ([]name.Reference, error) {
	own, err := local(ref)
	if err != nil {
		return nil, err
	}
	repositories, alsoOwn := []string(nil), true
	if s.Mirrors != nil && view != "" {
		if repositories, alsoOwn, err = s.Mirrors(ctx, view, ref); err != nil {
			return nil, err
		}
	}
	if alsoOwn {
		repositories = append(repositories, own.Context().RepositoryStr())
	}
	_, byDigest := own.(name.Digest)
	if byDigest {
		repositories = append(repositories, s.source.registry.RepositoriesOf(own.Identifier())...)
	}
	var places []name.Reference
	for _, repository := range repositories {
		repo := own.Context().Registry.Repo(repository)
		switch {
		case byDigest:
			places = append(places, repo.Digest(own.Identifier()))
		case isMirrored(repository):
			// Mirrored releases are tagged with version and machine, whatever the tag was at the source.
			places = append(places, repo.Tag(own.Identifier()), repo.Tag(own.Identifier()+machine))
		default:
			places = append(places, repo.Tag(own.Identifier()))
		}
	}
	return places, nil
}

func isMirrored(repository string) bool {
	return repository == mirroredReleases || strings.HasSuffix(repository, "/"+mirroredReleases)
}

// first reads the manifest at the first place that has it. When none has, the error is of the first one.
func (s *Store) first(places []name.Reference) (*v1.Manifest, v1.Hash, string, error) {
	missing := fmt.Errorf("%w: the mirror sets name no repository of the site registry, and forbid its own (NeverContactSource)", ErrNotFound)
	for n, place := range places {
		manifest, digest, err := s.source.manifest(place)
		if err == nil || !errors.Is(err, ErrNotFound) {
			return manifest, digest, place.Context().RepositoryStr(), err
		}
		if n == 0 {
			missing = err
		}
	}
	return nil, v1.Hash{}, "", missing
}

// Newest finds the newest release of those that were mirrored into the registry: its repository and tag, and what it says.
// ErrNotFound when there is none that is whole.
func (s *Store) Newest(ctx context.Context) (image string, newest *Release, err error) {
	var version *semver.Version
	for _, repository := range slices.DeleteFunc(s.source.registry.Repositories(), func(name string) bool { return !isMirrored(name) }) {
		tags, err := s.source.registry.Tags(repository)
		if err != nil {
			return "", nil, err
		}
		for _, tag := range slices.DeleteFunc(tags, func(tag string) bool { return !strings.HasSuffix(tag, machine) }) {
			found, err := s.whole(ctx, Host+"/"+repository+":"+tag)
			if err != nil {
				s.log.Warn("not a release to run from", "image", repository+":"+tag, "err", err)
				continue
			}
			v, err := semver.NewVersion(found.Version)
			if err == nil && (newest == nil || v.GreaterThan(version)) {
				image, newest, version = repository+":"+tag, found, v
			}
		}
	}
	if newest == nil {
		return "", nil, ErrNotFound
	}
	return image, newest, nil
}

// whole resolves a release whose components are all there.
func (s *Store) whole(ctx context.Context, ref string) (*Release, error) {
	found, err := s.Resolve(ctx, "", ref)
	if err != nil {
		return nil, err
	}
	for _, component := range found.Components {
		if _, _, err := s.Content(ctx, component); err != nil {
			return nil, err
		}
	}
	return found, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/slipway-io/slipway/mirror/registry"
	"github.com/slipway-io/slipway/mirror/release"
)

// registryUsers is the Secret in systemNamespace that names who may log in to the registry.
const (
	registryUsers  = "registry-users"
	htpasswdKey    = "htpasswd"
	rightsKey      = "rights"
	storeDirectory = "store"
	oldRegistry    = "registry" // OCI layouts of appliances before this store
)

// openRegistry opens the site's registry and imports the releases.
func (a *appliance) openRegistry(ctx context.Context) (err error) {
	a.registry, err = registry.Open(registry.Config{Dir: a.path(storeDirectory), Log: a.log.With("service", "registry")})
	if err != nil {
		return err
	}
	if a.ownUsers, err = readUsers(a.config.Registry.Htpasswd); err != nil {
		return errors.Join(err, a.registry.Close())
	}
	a.registry.Allow(a.access(nil))
	if _, err := os.Stat(a.path(oldRegistry)); !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("the directory of an earlier registry is not used any more: releases are imported again from their own directories; remove it", "dir", a.path(oldRegistry))
	}
	for _, dir := range a.config.Releases {
		releases, err := release.Import(ctx, dir, a.registry, a.log)
		if err != nil {
			return errors.Join(fmt.Errorf("import release from %s: %w", dir, err), a.registry.Close())
		}
		a.imported = append(a.imported, releases...)
	}
	a.releases = release.New(a.registry, a.path("content"), a.log)
	return nil
}

// readUsers of the configuration's file, when it names one.
func readUsers(path string) ([]registry.User, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("registry.htpasswd: %w", err)
	}
	users, err := registry.ParseHtpasswd(raw)
	if err != nil {
		return nil, fmt.Errorf("registry.htpasswd %s: %w", path, err)
	}
	return users, nil
}

// access keeps releases public in any case: a host fetches its programs before it has any secret.
func (a *appliance) access(users []registry.User) registry.Access {
	for _, user := range a.ownUsers {
		if !slices.ContainsFunc(users, func(u registry.User) bool { return u.Name == user.Name }) {
			users = append(users, user)
		}
	}
	return registry.Access{Anonymous: a.config.Registry.Anonymous(), Public: append(release.MirroredRepositories(), release.Repositories), Users: users}
}

// followRegistryUsers lets in whom the Secret names, from now on. One that cannot be read changes nothing.
func (a *appliance) followRegistryUsers(ctx context.Context, informers cache.Informers) error {
	informer, err := informers.GetInformer(ctx, &corev1.Secret{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch users of the registry: %w", err)
	}
	read := func(object any) {
		if secret, is := object.(*corev1.Secret); is && secret.Namespace == systemNamespace && secret.Name == registryUsers {
			a.allow(secret.Data)
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    read,
		UpdateFunc: func(_, object any) { read(object) },
		DeleteFunc: func(object any) {
			if gone, is := object.(toolscache.DeletedFinalStateUnknown); is {
				object = gone.Obj
			}
			if secret, is := object.(*corev1.Secret); is {
				read(&corev1.Secret{ObjectMeta: secret.ObjectMeta})
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch users of the registry: %w", err)
	}
	return nil
}

func (a *appliance) allow(data map[string][]byte) {
	users, err := registry.ParseHtpasswd(data[htpasswdKey])
	if err == nil {
		err = registry.ParseRights(data[rightsKey], users)
	}
	if err != nil {
		a.log.Error("users of the registry stay as they are", "secret", systemNamespace+"/"+registryUsers, "err", err)
		return
	}
	a.registry.Allow(a.access(users))
	a.log.Info("users of the registry", "secret", systemNamespace+"/"+registryUsers, "users", len(users))
}

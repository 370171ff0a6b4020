package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
	"github.com/slipway-io/slipway/mirror/remove"
	"github.com/slipway-io/slipway/mirror/sync"
)

func mirrorDeleteCommand(f *mirrorFlags) *cobra.Command {
	var generate bool
	var list string
	cmd := &cobra.Command{
		Use:   "delete docker://registry[/namespace]",
		Short: "Delete what a DeleteImageSetConfiguration names, in two steps",
		Long: `Delete images from a registry, and nothing that another image set mirrored with this workspace still wants.

First  delete --generate -c delete.yaml docker://registry            writes the list of what would go
then   delete --delete-yaml-file working-dir/delete/delete-images.yaml docker://registry`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if generate == (list != "") {
				return errors.New("give either --generate or --delete-yaml-file")
			}
			m, err := f.mirror(cmd)
			if err != nil {
				return err
			}
			defer m.close()
			host, namespace, found, err := registryTarget(args[0])
			if err != nil {
				return err
			}
			if !found {
				return fmt.Errorf("target %q: want docker://registry[/namespace]", args[0])
			}
			if generate {
				return m.listDeletes(cmd.Context(), host, namespace)
			}
			return m.deletes(cmd.Context(), list, strings.TrimSuffix(host+"/"+namespace, "/"))
		},
	}
	cmd.Flags().BoolVar(&generate, "generate", false, "write the list of what would be deleted")
	cmd.Flags().StringVar(&list, "delete-yaml-file", "", "list that --generate wrote, to be followed")
	return cmd
}

// listDeletes looks the images up at the target and lists those that no kept plan wants.
func (m *mirror) listDeletes(ctx context.Context, host, namespace string) (err error) {
	set, err := m.readSet()
	if err != nil {
		return err
	}
	if !set.Delete {
		return errors.New("the image set says what to mirror; delete wants a DeleteImageSetConfiguration")
	}
	w, err := m.open("slipway-mirror")
	if err != nil {
		return err
	}
	defer func() { err = closing(err, w.Close()) }()
	base := strings.TrimSuffix(host+"/"+namespace, "/")
	kept, err := w.Kept(base)
	if err != nil {
		return err
	}
	options := m.planOptions(namespace, m.log)
	if options.Release, err = m.releaseOptions(); err != nil {
		return err
	}
	options.At, options.Blobs, options.Look = remote.Repository{Host: host, Path: namespace}, w.Path("blobs"), true
	p, err := plan.Build(ctx, set, m.target, options)
	if err != nil {
		return err
	}
	list, stay := remove.Decide(p, kept, base)
	for _, k := range stay {
		fmt.Fprintf(m.out, "stays: %s, because the plan %s of this workspace wants it\n", k.ImageName, k.By)
	}
	for _, item := range list.Items {
		fmt.Fprintf(m.out, "goes:  %s\n", item.ImageReference)
	}
	path := w.Path("delete", "delete-images.yaml")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write list: %w", err)
	}
	if err := list.Write(path); err != nil {
		return err
	}
	fmt.Fprintf(m.out, "list of %d images: %s\n", len(list.Items), path)
	result := &sync.Result{}
	result.AddFailures(p.Failures)
	printFailures(m.out, result.Images)
	if result.ExitCode != 0 {
		return &failed{result.ExitCode, fmt.Sprintf("%d images can't be looked up at the target, and are not on the list", result.Failed)}
	}
	return nil
}

// deletes follows a list.
func (m *mirror) deletes(ctx context.Context, file, base string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read list: %w", err)
	}
	list, err := remove.Read(raw, base)
	if err != nil {
		return err
	}
	removed, failures := remove.Do(ctx, m.target, list)
	fmt.Fprintf(m.out, "%d images deleted, %d failed; the registry frees their content when it cleans up\n", removed, len(failures))
	for _, reference := range slices.Sorted(maps.Keys(failures)) {
		fmt.Fprintf(m.out, "failed: %s: %s\n", reference, failures[reference])
	}
	if len(failures) > 0 {
		return &failed{sync.ExitGeneric, "some images were not deleted"}
	}
	return nil
}

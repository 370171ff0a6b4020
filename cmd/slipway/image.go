package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/image"
)

// osImagesDir is where pulled and imported OS images are, below the state directory.
const osImagesDir = "os-images"

func imageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "OS images that hosts boot"}
	cmd.AddCommand(imageAddCommand(), imageListCommand(), imageParmCommand(), imageUSBCommand())
	return cmd
}

func imageAddCommand() *cobra.Command {
	var stateDir string
	var who image.Identity
	cmd := &cobra.Command{
		Use:   "add FILE",
		Short: "Import a CoreOS-style live ISO; a running appliance takes it within seconds",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := image.OpenStore(filepath.Join(stateDir, osImagesDir))
			if err != nil {
				return err
			}
			dir, who, err := store.Import(cmd.Context(), args[0], who, progress(cmd.ErrOrStderr(), "copied"))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "OS image %s for %s is in %s\n", who.Version, who.CPUArchitecture, dir)
			return err
		},
	}
	cmd.Flags().StringVar(&stateDir, "state-dir", defaultStateDir, "directory of the appliance's state")
	cmd.Flags().StringVar(&who.Version, "version", "", "version by which InfraEnvs name it (default what the volume id says)")
	cmd.Flags().StringVar(&who.CPUArchitecture, "arch", "", "x86_64, aarch64, ppc64le or s390x (default what the kernel is for)")
	cmd.Flags().StringVar(&who.OpenShiftVersion, "openshift-version", "", "a second name, as osImages of AgentServiceConfig have it")
	return cmd
}

func imageListCommand() *cobra.Command {
	var stateDir, config string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the OS images of this appliance",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := image.OpenStore(filepath.Join(stateDir, osImagesDir))
			if err != nil {
				return err
			}
			directories, err := store.Directories()
			if err != nil {
				return err
			}
			configured, err := api.ReadConfig(config)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if configured != nil {
				directories = append(configured.OSImages, directories...)
			}
			return listImages(cmd.OutOrStdout(), directories)
		},
	}
	cmd.Flags().StringVar(&stateDir, "state-dir", defaultStateDir, "directory of the appliance's state")
	cmd.Flags().StringVar(&config, "config", "/etc/slipway/slipway.yaml", "configuration file")
	return cmd
}

func listImages(out io.Writer, directories []string) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VERSION\tARCH\tOPENSHIFT\tISO\tDISK\tDIRECTORY")
	for _, dir := range directories {
		system, err := image.OpenOS(dir)
		if err != nil {
			return err
		}
		iso, disk := "-", "-"
		if system.ISO != nil {
			iso = fmt.Sprintf("%d MiB", system.ISO.Size>>20)
		}
		if system.Disk.Artifact != nil {
			disk = fmt.Sprintf("%d MiB", system.Disk.Size>>20)
		}
		openshift := system.OpenShiftVersion
		if openshift == "" {
			openshift = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", system.Version, system.CPUArchitecture, openshift, iso, disk, dir)
		if err := system.Close(); err != nil {
			return err
		}
	}
	return table.Flush()
}

// progress tells every two seconds, and at the end.
func progress(out io.Writer, what string) func(done, total int64) {
	var told time.Time
	return func(done, total int64) {
		if time.Since(told) < 2*time.Second && done != total {
			return
		}
		told = time.Now()
		fmt.Fprintf(out, "%s %d of %d MiB\n", what, done>>20, total>>20)
	}
}

// wantedImages are the osImages of every AgentServiceConfig.
func wantedImages(kinds cache.Cache) func(context.Context) ([]image.Source, error) {
	return func(ctx context.Context) ([]image.Source, error) {
		if !kinds.WaitForCacheSync(ctx) {
			return nil, ctx.Err()
		}
		configs := &agentv1beta1.AgentServiceConfigList{}
		if err := kinds.List(ctx, configs); err != nil {
			return nil, fmt.Errorf("list agentserviceconfigs: %w", err)
		}
		var sources []image.Source
		for _, config := range configs.Items {
			for _, one := range config.Spec.OSImages {
				architecture := one.CPUArchitecture
				switch architecture {
				case "":
					architecture = "x86_64"
				case "arm64":
					architecture = "aarch64"
				}
				sources = append(sources, image.Source{
					Identity: image.Identity{Version: one.Version, OpenShiftVersion: one.OpenshiftVersion, CPUArchitecture: architecture}, URL: one.Url,
				})
			}
		}
		return sources, nil
	}
}

// library makes stored OS images available, and pulls those that AgentServiceConfig names.
func (a *appliance) library(ctx context.Context, service *image.Service, wanted func(context.Context) ([]image.Source, error)) (*image.Library, error) {
	store, err := image.OpenStore(a.path(osImagesDir))
	if err != nil {
		return nil, err
	}
	library := &image.Library{Store: store, Wanted: wanted, Add: service.Add, Stamps: a.path("verified.json"), Log: a.log.With("service", "image")}
	return library, library.Load(ctx)
}

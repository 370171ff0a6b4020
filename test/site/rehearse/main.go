// Command rehearse runs a virtual site: the appliance and two empty machines with BMCs in namespaces of their own,
// from BareMetalHosts to Ready nodes, and keeps it until Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"

	"github.com/slipway-io/slipway/test/site"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "rehearse:", err)
	}
	os.Exit(code)
}

func run(ctx context.Context) (int, error) {
	binaries := flag.String("bin", "bin", "directory with slipway and slipway-agent")
	release := flag.String("release", "", "directory of the release's OCI layout")
	machineOS := flag.String("os", "", "directory of the machine OS")
	keep := flag.String("keep", "", "directory for the site's files, kept at the end (default: a temporary one)")
	once := flag.Bool("once", false, "end when the nodes are Ready instead of at Ctrl-C")
	flag.Parse()
	if site.Outside() {
		dir, clean, err := directory(*keep)
		if err != nil {
			return 1, err
		}
		defer clean()
		if err := os.Setenv(site.DirEnv, dir); err != nil {
			return 1, err
		}
		// Signals reach the site through Enter; ending early here would leave it without its files.
		return site.Enter(context.WithoutCancel(ctx))
	}
	if !site.Inside() {
		return site.Enter(context.WithoutCancel(ctx))
	}
	bin, err := filepath.Abs(*binaries)
	if err != nil {
		return 1, err
	}
	opened, err := site.Open(site.Config{
		Dir:     site.Dir(),
		Slipway: filepath.Join(bin, "slipway"),
		Release: *release,
		OS:      *machineOS,
		Machines: []*site.Machine{
			{Name: "bios0", Firmware: site.BIOS, BMC: &site.BMC{NoMedia: true, NoHTTP: true, Scheme: "redfish"}},
			{Name: "uefi0", Firmware: site.UEFI, BMC: &site.BMC{IPv6: true}},
		},
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return 1, err
	}
	err = rehearse(ctx, &site.Rehearsal{Site: opened, Report: site.NewReport(os.Stdout)}, *once)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 130, nil
	}
	if err != nil {
		return 1, fmt.Errorf("%w\n  appliance log: %s\n  consoles: %s", err, opened.ApplianceLog(), filepath.Join(opened.Dir, "machines"))
	}
	return 0, nil
}

// directory of the site, and what removes it.
func directory(keep string) (string, func(), error) {
	if keep != "" {
		dir, err := filepath.Abs(keep)
		if err != nil {
			return "", nil, err
		}
		return dir, func() {}, os.MkdirAll(dir, 0o700)
	}
	dir, err := os.MkdirTemp("", "slipway-site-")
	if err != nil {
		return "", nil, fmt.Errorf("make site directory: %w", err)
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}

func rehearse(ctx context.Context, r *site.Rehearsal, once bool) error {
	const replicas = 2
	if err := r.Start(ctx); err != nil {
		return err
	}
	if err := r.Declare(ctx); err != nil {
		return err
	}
	if err := r.HostsAre(ctx, 2*time.Minute, metal3v1alpha1.StateProvisioned); err != nil {
		return err
	}
	if err := r.Inventoried(ctx, 10*time.Minute); err != nil {
		return err
	}
	if err := r.CreateCluster(ctx, replicas); err != nil {
		return err
	}
	if err := r.Join(ctx, replicas); err != nil {
		return err
	}
	if err := r.Pods(ctx); err != nil {
		return err
	}
	r.Report.Milestones(r.Machines)
	kubeconfig, err := r.WriteKubeconfig(ctx)
	if err != nil {
		return err
	}
	kubectl, err := r.Kubectl(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\nThe site runs. From another terminal:\n"+
		"  hosted cluster:  nsenter -t %[1]s -n env KUBECONFIG=%[2]s %[3]s get nodes\n"+
		"  management API:  nsenter -t %[1]s -n env KUBECONFIG=%[4]s %[3]s get baremetalhosts,infraenv,agents,hostedclusters,nodepools,machines -A\n"+
		"All that was written about the machines is in %[5]s.\n",
		site.HostPID(), kubeconfig, kubectl, r.Kubeconfig(), r.Manifests())
	if once {
		return nil
	}
	fmt.Println("Ctrl-C ends it and leaves nothing behind.")
	<-ctx.Done()
	fmt.Println("The site ends.")
	return nil
}

// Command slipway is the appliance and the operator's verbs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "development"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := command()
	if filepath.Base(os.Args[0]) == ocMirror {
		root = mirrorCommand(ocMirror)
		root.SilenceUsage, root.SilenceErrors = true, true
	}
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "slipway:", err)
		os.Exit(exitCode(err))
	}
}

// ocMirror is the name under which the binary is oc-mirror: for scripts, and for oc, which finds its plugins by name.
const ocMirror = "oc-mirror"

// exitCode is 1, unless the error knows better.
func exitCode(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return 1
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "slipway",
		Short:         "Turns bare metal into Kubernetes clusters with hosted control planes",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	create := &cobra.Command{Use: "create", Short: "Create a cluster, or print its kubeconfig"}
	create.AddCommand(platformGroup("cluster", createClusterCommand()), createKubeconfigCommand())
	destroy := &cobra.Command{Use: "destroy", Short: "Destroy a cluster and return its hosts"}
	destroy.AddCommand(platformGroup("cluster", destroyClusterCommand()))
	root.AddCommand(upCommand(), shimCommand(), create, destroy, approveCommand(), imageCommand(), mirrorCommand("mirror"), versionCommand())
	return root
}

// platformGroup nests the way hcp does: create cluster agent.
func platformGroup(name string, agent *cobra.Command) *cobra.Command {
	group := &cobra.Command{Use: name, Short: agent.Short}
	group.AddCommand(agent)
	return group
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "slipway", version)
			return err
		},
	}
}

// Command slipway is the appliance and the operator's verbs.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "development"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "slipway:", err)
		os.Exit(1)
	}
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
	root.AddCommand(upCommand(), shimCommand(), create, destroy, approveCommand(), imageCommand(), versionCommand())
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

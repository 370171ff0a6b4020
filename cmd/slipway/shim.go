package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/slipway-io/slipway/services/controlplane/driver/process"
)

// shimCommand is what the process driver starts, one per control plane; nobody types it.
func shimCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:    "shim",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return process.RunShim(cmd.Context(), dir, slog.New(slog.NewTextHandler(os.Stderr, nil)))
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory of the control plane")
	return cmd
}

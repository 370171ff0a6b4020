package main

import (
	"context"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/controllers/infraenv"
	"github.com/slipway-io/slipway/services/image"
)

// staticNetwork is the archive with the static networking of an InfraEnv's hosts, nil when it has none.
func staticNetwork(lookup infraenv.Lookup) func(context.Context, *agentv1beta1.InfraEnv) ([]byte, error) {
	return func(ctx context.Context, env *agentv1beta1.InfraEnv) ([]byte, error) {
		files, err := lookup.Network(ctx, env)
		if err != nil || len(files) == 0 {
			return nil, err
		}
		var entries []image.File
		for _, file := range files {
			mode := image.RegularFile | 0o644
			switch {
			case file.Link:
				mode = image.Link
			case file.Executable:
				mode = image.RegularFile | 0o755
			case file.Private:
				mode = image.RegularFile | 0o600
			}
			entries = append(entries, image.File{Name: file.Name, Mode: mode, Content: file.Content})
		}
		return image.Archive(entries), nil
	}
}

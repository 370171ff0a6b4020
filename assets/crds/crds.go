// Package crds has the definitions of every kind that Slipway serves, generated from the Go types.
package crds

import "embed"

//go:generate ./generate.sh

// FS holds one YAML file per kind.
//
//go:embed *.yaml
var FS embed.FS

package plan

// ReleaseOptions say how releases are found and verified.
type ReleaseOptions struct{}

// Package gap carries a release and a workload from a registry across a gap, on a disk, to a site that has nothing and cannot reach the registry.
package gap

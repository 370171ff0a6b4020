package api

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// HostedClusterOf maps an object of a control plane namespace to the request for its HostedCluster.
func HostedClusterOf(object client.Object) []reconcile.Request {
	return requestFor(object.GetAnnotations()[HostedClusterAnnotation])
}

// NodePoolOf maps an object of a control plane namespace to the request for its NodePool.
func NodePoolOf(object client.Object) []reconcile.Request {
	return requestFor(object.GetAnnotations()[NodePoolAnnotation])
}

func requestFor(path string) []reconcile.Request {
	namespace, name, ok := strings.Cut(path, "/")
	if !ok || namespace == "" || name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}}
}

// Paused reads a pausedUntil field: true, false, or the RFC 3339 time at which the pause ends. wait is the rest of it, 0 for no end.
func Paused(until *string, now time.Time) (wait time.Duration, paused bool, err error) {
	if until == nil || *until == "" {
		return 0, false, nil
	}
	switch strings.ToLower(*until) {
	case "true":
		return 0, true, nil
	case "false":
		return 0, false, nil
	}
	end, err := time.Parse(time.RFC3339, *until)
	if err != nil {
		return 0, false, fmt.Errorf("spec.pausedUntil: %q is neither true, false nor a time as 2026-01-02T15:04:05Z", *until)
	}
	if now.After(end) {
		return 0, false, nil
	}
	return end.Sub(now), true, nil
}

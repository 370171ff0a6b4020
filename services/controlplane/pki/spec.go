package pki

import (
	"net/netip"
	"time"
)

const day = 24 * time.Hour

// Lifetimes unless the Spec says otherwise.
const (
	CAValidity   = 10 * 365 * day
	LeafValidity = 365 * day
	// LeafRenewal is what is left of a leaf's life when it is renewed.
	LeafRenewal = 30 * day
	// CARenewal is long enough for every leaf to be signed for its whole life.
	CARenewal = 2 * 365 * day
)

// Spec is everything that the certificates of one control plane depend on.
type Spec struct {
	// Namespace is set on secrets that are new.
	Namespace string
	// ClusterName stands in the names of the CAs and in kubeconfigs.
	ClusterName string
	// APIURL is the API as users reach it, LocalAPIURL as the control plane's own programs do.
	APIURL, LocalAPIURL string
	APINames            []string
	APIAddrs            []netip.Addr
	// EtcdNames are names of etcd beyond localhost.
	EtcdNames []string
	// Validity and Renewal replace LeafValidity and LeafRenewal if set.
	Validity, Renewal time.Duration
}

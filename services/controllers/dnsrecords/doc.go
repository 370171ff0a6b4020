// Package dnsrecords turns hosted clusters and their Nodes into names: api, api-int and the wildcard of apps.
//
// Decide is pure; the reconciler hands the names of all clusters to the DNS server together, and only when they changed.
package dnsrecords

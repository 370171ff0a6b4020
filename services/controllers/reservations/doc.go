// Package reservations turns BareMetalHosts and NMStateConfigs into what the DHCP service keeps for hosts.
//
// A static address of a port in an NMStateConfig is reserved for the port's MAC; one of a VLAN, bond or bridge is kept from
// everybody, because the host takes it by itself. A BareMetalHost has no address: its boot MAC is told the host's name, and
// the lease that it once got goes to no other host as long as the BareMetalHost exists.
//
// Decide is pure; the reconciler hands all hosts to the DHCP service together, and only when they changed.
package reservations

// Package site is the virtual site: namespaces of its own with a bridge, the appliance, and QEMU machines with BMCs, for rehearsals and for the tests.
//
// Everything runs in fresh network, PID and mount namespaces that one process owns: when that process ends, however it ends,
// the kernel kills what runs inside and takes the links and mounts away.
package site

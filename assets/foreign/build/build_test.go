package main

import (
	"slices"
	"testing"
)

func TestChoose(t *testing.T) {
	const dependencies = "kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko kernel/drivers/net/net_failover.ko\n" +
		"kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko\nkernel/drivers/rtc/rtc-efi.ko:\nkernel/other.ko:\n"
	got := choose(dependencies, names("# a comment\n\nvirtio_net\nrtc-efi\nabsent\n"))
	want := []string{"kernel/drivers/net/net_failover.ko", "kernel/drivers/net/virtio_net.ko", "kernel/drivers/rtc/rtc-efi.ko", "kernel/net/core/failover.ko"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestAddNameServers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	servers := []net.IP{net.ParseIP("fd07::2"), net.ParseIP("fd07::3")}
	for _, some := range [][]net.IP{servers[:1], nil, servers} {
		if err := addNameServers(path, some); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "nameserver fd07::2\nnameserver fd07::3\n" {
		t.Errorf("%q, %v", text, err)
	}
}

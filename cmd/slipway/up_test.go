package main

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/services/api"
)

func siteConfig() *api.Config {
	return &api.Config{
		Domain:     "site.example",
		Interfaces: map[string]api.Interface{"lo": {Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}},
	}
}

func TestCheckInterfaces(t *testing.T) {
	if err := checkInterfaces(t.Context(), siteConfig()); err != nil {
		t.Fatalf("loopback is refused: %v", err)
	}
	config := siteConfig()
	config.Interfaces["nosuch0"] = api.Interface{}
	config.Interfaces["lo"] = api.Interface{Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}}
	err := checkInterfaces(t.Context(), config)
	for _, want := range []string{"interfaces.nosuch0: no such interface", "there are", "lo", "192.0.2.7 is not on the interface"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to contain %q", err, want)
		}
	}
}

func TestCheckPortsTaken(t *testing.T) {
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	config := siteConfig()
	config.Ports.HTTP = listener.Addr().(*net.TCPAddr).Port
	err = checkPorts(t.Context(), config)
	if err == nil || !strings.Contains(err.Error(), "ports.http") || !strings.Contains(err.Error(), strconv.Itoa(config.Ports.HTTP)) {
		t.Errorf("%v, want it to name ports.http and the port", err)
	}
	config.HTTP.Plain = "off"
	if err := checkPorts(t.Context(), config); err != nil && strings.Contains(err.Error(), "ports.http:") {
		t.Errorf("without plain HTTP its port is checked: %v", err)
	}
	config.HTTP.Plain = ""
	config.Ports.HTTP = 0
	if err := checkPorts(t.Context(), config); err != nil {
		t.Errorf("free ports are refused: %v", err)
	}
}

func TestLockStateDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	unlock, err := lockStateDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v: the state directory is open to others", info.Mode(), err)
	}
	if _, err := lockStateDir(dir); err == nil || !strings.Contains(err.Error(), "another `slipway up`") {
		t.Errorf("a second appliance gets the same state: %v", err)
	}
	unlock()
	again, err := lockStateDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestChoose(t *testing.T) {
	agents := []agentv1beta1.Agent{
		{ObjectMeta: metav1.ObjectMeta{Name: "2a23932c-e581"}, Spec: agentv1beta1.AgentSpec{Hostname: "worker-0"}},
		{ObjectMeta: metav1.ObjectMeta{Name: "2a23aaaa-0000"}},
		{ObjectMeta: metav1.ObjectMeta{Name: "5d00f322-3af4"}},
	}
	for names, want := range map[string]int{"": 3, "2a23932c": 1, "worker-0": 1, "5d00f322-3af4 worker-0": 2, "2a23": -1, "nobody": -1} {
		chosen, err := choose(agents, strings.Fields(names))
		if (err != nil) != (want < 0) || (want >= 0 && len(chosen) != want) {
			t.Errorf("%q: %d agents, %v, want %d", names, len(chosen), err, want)
		}
	}
}

package process

import (
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/slipway-io/slipway/services/controlplane"
)

func withPorts(name string, ports ...controlplane.Port) controlplane.ControlPlane {
	return controlplane.ControlPlane{Name: name, Components: []controlplane.Component{{Name: "x", Ports: ports}}}
}

func portDriver(t *testing.T) *Driver {
	t.Helper()
	d := New(Config{StateDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	for _, name := range []string{"a", "b"} {
		if err := os.MkdirAll(d.dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestAllocate(t *testing.T) {
	d := portDriver(t)
	a, err := d.allocate(withPorts("a", controlplane.Port{Name: "one"}, controlplane.Port{Name: "api", Number: 30443}))
	if err != nil {
		t.Fatal(err)
	}
	if a["api"] != 30443 || a["one"] < firstPort || a["one"] > lastPort {
		t.Errorf("%v", a)
	}
	b, err := d.allocate(withPorts("b", controlplane.Port{Name: "one"}))
	if err != nil || b["one"] == a["one"] {
		t.Errorf("%v after %v: %v", b, a, err)
	}
	// A port that is ours stays ours while our program listens on it.
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(a["one"])))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	again, err := d.allocate(withPorts("a", controlplane.Port{Name: "one"}, controlplane.Port{Name: "two"}, controlplane.Port{Name: "api", Number: 30443}))
	if err != nil || again["one"] != a["one"] || again["two"] == 0 || again["two"] == again["one"] || again["two"] == b["one"] {
		t.Errorf("%v after %v, %v: %v", again, a, b, err)
	}
	third, err := New(d.cfg).allocate(withPorts("a", controlplane.Port{Name: "one"}, controlplane.Port{Name: "two"}, controlplane.Port{Name: "api", Number: 30443}))
	if err != nil || !maps.Equal(third, again) {
		t.Errorf("another driver: %v after %v: %v", third, again, err)
	}
}

func TestAllocateSkipsForeignPorts(t *testing.T) {
	d := portDriver(t)
	probe, err := d.allocate(withPorts("a", controlplane.Port{Name: "one"}))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(d.dir("a"), portsFile)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(probe["one"])))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got, err := d.allocate(withPorts("a", controlplane.Port{Name: "one"})); err != nil || got["one"] == probe["one"] {
		t.Errorf("%v: %v", got, err)
	}
}

func TestAllocateFaults(t *testing.T) {
	d := portDriver(t)
	if _, err := d.allocate(withPorts("a", controlplane.Port{Name: "one"}, controlplane.Port{Name: "one"})); err == nil {
		t.Error("two ports of one name were taken")
	}
	if err := os.WriteFile(filepath.Join(d.dir("b"), portsFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.allocate(withPorts("b", controlplane.Port{Name: "one"})); err == nil {
		t.Error("a damaged file was taken")
	}
}

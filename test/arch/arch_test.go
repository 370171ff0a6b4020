// Package arch has the import rules and their check.
package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/slipway-io/slipway/"

// protocols never import one another: what they share, cmd hands in.
var protocols = []string{
	"services/dhcp", "services/tftp", "services/dns", "services/web", "services/image", "services/agentapi",
}

// rule forbids imports by path prefix below the module. An import that is allowed anyway is named.
type rule struct {
	from      []string
	forbidden []string
	allowed   []string
	why       string
}

var rules = []rule{
	{from: []string{"assets/"}, forbidden: []string{""}, allowed: []string{"assets/"}, why: "assets are bytes and their recipes; they import nothing of ours"},
	{from: []string{"ipxe"}, forbidden: []string{""}, allowed: []string{"ipxe"}, why: "ipxe renders text; it imports nothing of ours"},
	{from: []string{"services/nmstate"}, forbidden: []string{""}, why: "nmstate turns bytes into bytes; it imports nothing of ours"},
	{from: []string{"mirror/"}, forbidden: []string{"services/", "cmd/"}, why: "mirror also runs at home, without an appliance"},
	{from: []string{"services/"}, forbidden: []string{"cmd/", "test/"}, why: "only cmd wires"},
	{from: []string{"services/", "ipxe", "assets/"}, forbidden: []string{"mirror/"}, why: "services get registry and releases through interfaces"},
	{from: []string{"services/controllers"}, forbidden: protocols, why: "controllers decide and write objects; they never import protocols"},
	{from: []string{"services/bmc", "services/bmh"}, forbidden: append([]string{"services/controllers", "services/controlplane"}, protocols...), why: "BMCs and what is decided about hosts know no controller and no protocol"},
	{from: []string{"services/controlplane"}, forbidden: append([]string{"services/controllers"}, protocols...), why: "control planes are run by a driver that knows no kinds"},
	{from: []string{"services/api", "services/run", "services/host"}, forbidden: append([]string{"services/controllers", "services/controlplane"}, protocols...), why: "what all share imports none of them"},
	{from: protocols, forbidden: append([]string{"services/controllers", "services/controlplane"}, protocols...), why: "protocols never import one another, nor controllers"},
	{from: []string{"cmd/", "services/", "mirror/", "assets/", "ipxe"}, forbidden: []string{"test/"}, why: "nobody imports test"},
}

// homes of heavy libraries: who may import them.
var homes = map[string][]string{
	"github.com/insomniacslk/dhcp":           {"services/dhcp", "assets/os/firstboot"}, // a server and a client
	"github.com/mdlayher/ndp":                {"services/dhcp"},
	"github.com/miekg/dns":                   {"services/dns"},
	"golang.org/x/crypto/bcrypt":             {"mirror/registry", "test/bench/mirror"},
	"github.com/ProtonMail/go-crypto":        {"mirror/signature"},
	"github.com/coreos/ignition/v2":          {"services/ignition"},
	"helm.sh/helm/v3":                        {"mirror/helm"},
	"go.etcd.io/etcd":                        {"services/controlplane/management"},
	"sigs.k8s.io/cluster-api/controllers":    {"services/controllers"},
	"sigs.k8s.io/controller-runtime":         {"services/controllers", "services/api", "services/agentapi", "cmd/slipway", "test/", "assets/crds"},
	"github.com/stmcginnis/gofish":           {"services/bmc/redfish", "test/bench/bmc"}, // and its own peer
	"github.com/vishvananda/netlink":         {"services/dhcp", "cmd/slipway", "test/site"},
	"github.com/google/go-containerregistry": {"mirror/", "assets/release", "test/"},
}

type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestImports(t *testing.T) {
	for _, pkg := range packages(t) {
		path := strings.TrimPrefix(pkg.ImportPath, module)
		for _, imported := range pkg.Imports {
			ours, found := strings.CutPrefix(imported, module)
			if found {
				checkRules(t, path, ours)
				continue
			}
			for library, users := range homes {
				if within(imported, library) && !anyPrefix(path, users) {
					t.Errorf("%s imports %s, whose home is %s", path, imported, strings.Join(users, ", "))
				}
			}
		}
	}
}

func checkRules(t *testing.T, path, imported string) {
	t.Helper()
	for _, r := range rules {
		if !anyPrefix(path, r.from) || anyPrefix(imported, r.allowed) || !anyPrefix(imported, r.forbidden) {
			continue
		}
		if imported == path || strings.HasPrefix(imported, path+"/") || sameRoom(path, imported) {
			continue
		}
		t.Errorf("%s imports %s: %s", path, imported, r.why)
	}
}

// sameRoom: packages below one protocol's folder may import each other.
func sameRoom(a, b string) bool {
	for _, room := range protocols {
		if within(a, room) && within(b, room) {
			return true
		}
	}
	return false
}

func within(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
}

func anyPrefix(path string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if prefix == "" || within(path, prefix) {
			return true
		}
	}
	return false
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var pkg listed
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		all = append(all, pkg)
	}
	if len(all) < 10 {
		t.Fatalf("go list found %d packages: the check would check nothing", len(all))
	}
	return all
}

// TestRules proves that the check can fail.
func TestRules(t *testing.T) {
	for _, broken := range [][2]string{
		{"services/dhcp", "services/dns"},
		{"mirror/registry", "services/api"},
		{"assets/crds", "services/api"},
		{"services/controllers/agent", "services/agentapi"},
		{"services/web", "cmd/slipway"},
	} {
		caught := false
		for _, r := range rules {
			if anyPrefix(broken[0], r.from) && anyPrefix(broken[1], r.forbidden) && !anyPrefix(broken[1], r.allowed) {
				caught = true
			}
		}
		if !caught {
			t.Errorf("%s importing %s passes", broken[0], broken[1])
		}
	}
}

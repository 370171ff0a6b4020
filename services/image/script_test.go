package image

import (
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openshift/assisted-service/api/v1beta1"
	"k8s.io/apimachinery/pkg/types"
)

var update = flag.Bool("update", false, "write the goldens")

func typesUID(i int) types.UID { return types.UID(fmt.Sprint(i)) }

func TestScripts(t *testing.T) {
	const (
		v4      = "10.7.0.2:8080"
		v6      = "[fd00:7::2]:8080"
		machine = "/boot.ipxe?mac=52-54-00-00-00-01&uuid=00112233-4455-6677-8899-aabbccddeeff&arch=i386"
		files   = "/api/assisted-install/v2/infra-envs/" + uid + "/downloads/files?file_name=ipxe-script&api_key=" + token1
	)
	for name, c := range map[string]struct {
		path, local string
		status      int
		edit        func(*world)
	}{
		"unknown-machine": {"/boot.ipxe", v4, 200, nil},
		"discovery": {machine, v4, 200, func(w *world) {
			w.decision.InfraEnv = w.infraEnv
			w.infraEnv.Spec.KernelArguments = []v1beta1.KernelArgument{{Operation: "append", Value: "quiet"}}
		}},
		"discovery-ipv6": {machine, v6, 200, func(w *world) { w.decision.InfraEnv = w.infraEnv }},
		"local":          {machine, v4, 200, func(w *world) { w.decision.Local = true }},
		"wait":           {machine, v4, 200, func(w *world) { w.decision.Wait = "Choose an InfraEnv" }},
		"no-infraenv":    {machine, v4, 200, nil},
		"not-found":      {machine, v4, 200, func(w *world) { w.failure = fmt.Errorf("look up: %w", ErrNotFound) }},
		"store-down":     {machine, v4, 200, func(w *world) { w.failure = errors.New("down") }},
		"changed-arguments": {machine, v4, 200, func(w *world) {
			w.decision.InfraEnv = w.infraEnv
			w.infraEnv.Spec.KernelArguments = []v1beta1.KernelArgument{
				{Operation: "delete", Value: "console=tty0"}, {Operation: "replace", Value: "console=ttyS1,115200"}, {Operation: "append", Value: "quiet"},
			}
		}},
		"bad-argument": {machine, v4, 200, func(w *world) {
			w.decision.InfraEnv = w.infraEnv
			w.infraEnv.Spec.KernelArguments = []v1beta1.KernelArgument{{Operation: "prepend", Value: "quiet"}}
		}},
		"bad-word": {machine, v4, 200, func(w *world) {
			w.decision.InfraEnv = w.infraEnv
			w.infraEnv.Spec.KernelArguments = []v1beta1.KernelArgument{{Operation: "append", Value: `"a b"`}}
		}},
		"bad-mac":         {"/boot.ipxe?mac=52:54", v4, 400, nil},
		"infraenv":        {files, v4, 200, nil},
		"infraenv-order":  {files + "&ipxe_script_type=boot-order-control", v4, 200, nil},
		"infraenv-local":  {files + "&ipxe_script_type=boot-order-control&mac=52:54:00:00:00:01", v4, 404, func(w *world) { w.decision.Local = true }},
		"infraenv-always": {files + "&ipxe_script_type=discovery-image-always&mac=52:54:00:00:00:01", v4, 200, func(w *world) { w.decision.Local = true }},
		"infraenv-type":   {files + "&ipxe_script_type=other", v4, 400, nil},
		"no-os":           {files, v4, 409, func(w *world) { w.infraEnv.Spec.OSImageVersion = "99" }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.edit != nil {
				c.edit(w)
			}
			response := w.ask("GET", c.path, c.local)
			got := string(body(t, response))
			if response.StatusCode != c.status {
				t.Fatalf("status %d: %s", response.StatusCode, got)
			}
			if strings.Contains(w.log.String(), token1) {
				t.Error("a token is in the log")
			}
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
		})
	}
}

// A machine that waits is told of once, every boot each time.
func TestScriptLog(t *testing.T) {
	w := newWorld(t)
	const path = "/boot.ipxe?mac=52-54-00-00-00-01"
	ask := func(times int) int {
		before := strings.Count(w.log.String(), "boot script")
		for range times {
			w.ask("GET", path, "")
		}
		return strings.Count(w.log.String(), "boot script") - before
	}
	if lines := ask(3); lines != 1 {
		t.Errorf("waiting: %d lines", lines)
	}
	w.decision.Wait = "something else"
	if lines := ask(3); lines != 1 {
		t.Errorf("waiting for something else: %d lines", lines)
	}
	w.decision.InfraEnv = w.infraEnv
	if lines := ask(2); lines != 2 {
		t.Errorf("booting: %d lines", lines)
	}
	if w.decision.InfraEnv = nil; ask(1) != 1 {
		t.Error("waiting again is no news")
	}
}

func FuzzBootScript(f *testing.F) {
	f.Add("52:54:00:00:00:01", "00112233-4455-6677-8899-aabbccddeeff", "x86_64", "bytes=u-u")
	f.Add("", "{00112233-4455-6677-8899-aabbccddeeff}", "i386", "bytes=0-1,-3")
	f.Add("\n", "urn:uuid:x", "${mac}", "")
	f.Fuzz(func(t *testing.T, mac, uuid, arch, ranges string) {
		asking, err := parseMachine(url.Values{"mac": {mac}, "uuid": {uuid}, "arch": {arch}})
		if err != nil {
			if !errors.Is(err, errQuery) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		again, err := url.ParseQuery(asking.query())
		if err != nil || strings.ContainsAny(asking.query(), " \n$;|") {
			t.Fatalf("query %q: %v", asking.query(), err)
		}
		second, err := parseMachine(again)
		if err != nil || second.query() != asking.query() {
			t.Fatalf("%q becomes %q: %v", asking.query(), second.query(), err)
		}
	})
}

package mirrorset

import (
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-io/slipway/mirror/remote"
)

var update = flag.Bool("update", false, "write the golden file")

// site is what the tables below look into: scopes of all kinds, merged lists, both policies, all kinds of registries.
func site() []Entry {
	return []Entry{
		{Path: "idms/release", Source: "quay.io/openshift-release-dev/ocp-release", Mirrors: []string{"reg.local:5000/m/openshift/release-images"}},
		{Path: "idms/a", Source: "quay.io/team", Mirrors: []string{"a.local/team", "b.local/team"}},
		{Path: "idms/b", Source: "quay.io/team", Mirrors: []string{"b.local/team", "c.local/team"}, Never: true},
		{Path: "itms/team", Source: "quay.io/team", Mirrors: []string{"tags.local/team"}, ByTag: true},
		{Path: "idms/app", Source: "quay.io/team/app", Mirrors: []string{"[FD07:0::2]:5000/apps/app"}},
		{Path: "itms/host", Source: "registry.redhat.io", Mirrors: []string{"reg.local:5000/rh"}, ByTag: true},
		{Path: "idms/wild", Source: "*.example.com", Mirrors: []string{"reg.local:5000/example"}},
		{Path: "idms/six", Source: "[fd99:0::1]:5000/x", Mirrors: []string{"10.7.0.2:5000/x"}, Never: true},
		{Path: "idms/itself", Source: "gcr.io/y", Mirrors: []string{"gcr.io/y"}, Never: true},
	}
}

func TestPlaces(t *testing.T) {
	rules, err := Merge(site())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		repo     string
		byDigest bool
		mirrors  string
		source   bool
	}{
		{"quay.io/openshift-release-dev/ocp-release", true, "reg.local:5000/m/openshift/release-images", true},
		{"quay.io/openshift-release-dev/ocp-release", false, "", true},
		{"quay.io/openshift-release-dev/ocp-release-nightly", true, "", true},
		{"quay.io/team/other", true, "a.local/team/other b.local/team/other c.local/team/other tags.local/team/other", false},
		{"quay.io/team/other", false, "tags.local/team/other", false},
		{"quay.io/teams/other", true, "", true},
		{"quay.io/team/app", true, "[fd07::2]:5000/apps/app", true}, // a longer source hides a shorter one, its policy as well
		{"quay.io/team/app", false, "", true},                       // and its mirrors for tags
		{"quay.io/team/app/deep", true, "[fd07::2]:5000/apps/app/deep", true},
		{"registry.redhat.io/ubi9/ubi", false, "reg.local:5000/rh/ubi9/ubi", true},
		{"Registry.redhat.io/ubi9/ubi", false, "reg.local:5000/rh/ubi9/ubi", true},
		{"registry.redhat.io/ubi9/ubi", true, "reg.local:5000/rh/ubi9/ubi", true},
		{"deep.sub.example.com/a/b", true, "reg.local:5000/example/a/b", true},
		{"example.com/a/b", true, "", true},
		{"[fd99::1]:5000/x/y", true, "10.7.0.2:5000/x/y", false},
		{"[fd99:0:0::1]:5000/x/y", true, "10.7.0.2:5000/x/y", false},
		{"[fd99::1]:5001/x/y", true, "", true},
		{"gcr.io/y", true, "", true}, // nothing but itself: neither mirror nor policy
	} {
		at := strings.Index(c.repo, "/")
		got := rules.Places(remote.Repository{Host: c.repo[:at], Path: c.repo[at+1:]}, c.byDigest)
		var mirrors []string
		for _, mirror := range got.Mirrors {
			mirrors = append(mirrors, mirror.String())
		}
		if strings.Join(mirrors, " ") != c.mirrors || got.Source != c.source {
			t.Errorf("%s, by digest %t: %v, source %t; want %s, %t", c.repo, c.byDigest, mirrors, got.Source, c.mirrors, c.source)
		}
	}
}

func TestRegistriesConf(t *testing.T) {
	rules, err := Merge(site())
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/registries.conf"
	if *update {
		if err := os.WriteFile(golden, rules.RegistriesConf(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || string(want) != string(rules.RegistriesConf()) {
		t.Errorf("differs from %s (%v):\n%s", golden, err, rules.RegistriesConf())
	}
	shuffled := site()
	slices.SortStableFunc(shuffled, func(a, b Entry) int { return strings.Compare(a.Source, b.Source) })
	again, err := Merge(shuffled)
	if err != nil || string(again.RegistriesConf()) != string(rules.RegistriesConf()) {
		t.Errorf("the order of sources shows (%v):\n%s", err, again.RegistriesConf())
	}
	if none, err := Merge(nil); err != nil || len(none.RegistriesConf()) > 0 {
		t.Errorf("nothing makes %q, %v", none.RegistriesConf(), err)
	}
}

func TestOrder(t *testing.T) {
	for _, c := range []struct{ lists, want string }{
		{"a b|b c", "a b c"},
		{"b c|a b", "a b c"},
		{"a b|b a", "a b"},
		{"c|a b|b c", "a b c"},
		{"a a b", "a b"},
	} {
		var lists [][]string
		for _, list := range strings.Split(c.lists, "|") {
			lists = append(lists, strings.Fields(list))
		}
		if got := strings.Join(order(lists), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.lists, got, c.want)
		}
	}
}

func TestBadEntriesAreNamedAndLeftOut(t *testing.T) {
	good := Entry{Path: "good", Source: "quay.io/a", Mirrors: []string{"reg.local/a"}}
	for _, c := range []struct {
		entry Entry
		want  string
	}{
		{Entry{Path: "spec.x[1]", Source: "quay.io/a:v1", Mirrors: []string{"reg.local/a"}}, `spec.x[1].source: invalid mirror set: "quay.io/a:v1"`},
		{Entry{Path: "spec.x[1]", Source: "fd00::1", Mirrors: []string{"reg.local/a"}}, "spec.x[1].source"},
		{Entry{Path: "spec.x[1]", Source: "https://quay.io", Mirrors: []string{"reg.local/a"}}, "spec.x[1].source"},
		{Entry{Path: "spec.x[1]", Source: "*", Mirrors: []string{"reg.local/a"}}, "spec.x[1].source"},
		{Entry{Path: "spec.x[1]", Source: "*.x.org/path", Mirrors: []string{"reg.local/a"}}, "spec.x[1].source"},
		{Entry{Path: "spec.x[1]", Source: "", Mirrors: []string{"reg.local/a"}}, "spec.x[1].source"},
		{Entry{Path: "spec.x[1]", Source: "quay.io", Mirrors: []string{"reg.local/a", "*.reg.local"}}, "spec.x[1].mirrors[1]"},
		{Entry{Path: "spec.x[1]", Source: "quay.io", Mirrors: []string{"reg.local/a@sha256:00"}}, "spec.x[1].mirrors[0]"},
		{Entry{Path: "spec.x[1]", Source: "quay.io", Mirrors: []string{"[fd00::zz]:5000/a"}}, "spec.x[1].mirrors[0]"},
		{Entry{Path: "spec.x[1]", Source: "quay.io\"\n", Mirrors: []string{"reg.local/a"}}, "spec.x[1].source"},
	} {
		if err := c.entry.Check(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.entry, err, c.want)
		}
		rules, err := Merge([]Entry{c.entry, good})
		if !errors.Is(err, ErrInvalid) || strings.Count(string(rules.RegistriesConf()), "[[registry]]") != 1 {
			t.Errorf("%+v beside a good one: %v\n%s", c.entry, err, rules.RegistriesConf())
		}
	}
}

// FuzzMerge looks for entries that pass the check and then make no rules, or rules that send an image into nowhere.
func FuzzMerge(f *testing.F) {
	for _, e := range site() {
		f.Add(e.Source, e.Mirrors[0], e.ByTag, e.Never)
	}
	f.Fuzz(func(t *testing.T, source, mirror string, byTag, never bool) {
		e := Entry{Path: "p", Source: source, Mirrors: []string{mirror}, ByTag: byTag, Never: never}
		rules, err := Merge([]Entry{e})
		if checked := e.Check(); (checked == nil) != (err == nil) {
			t.Fatalf("check says %v, merge says %v", checked, err)
		}
		for _, byDigest := range []bool{true, false} {
			for _, place := range rules.Places(remote.Repository{Host: "quay.io", Path: "a/b"}, byDigest).Mirrors {
				if _, err := remote.ParseReference(place.String() + ":v1"); err != nil {
					t.Fatalf("%q -> %q makes %v: %v", source, mirror, place, err)
				}
			}
		}
	})
}

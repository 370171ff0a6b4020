package approval

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/slipway-io/slipway/services/api"
)

const cidrs, serials, token = api.ApproveCIDRsAnnotation, api.ApproveSerialsAnnotation, api.ApproveTokenAnnotation

const secretToken = "0123456789abcdef"

func TestApproves(t *testing.T) {
	for _, c := range []struct {
		name        string
		annotations map[string]string
		host        shown
		token       string
		policy, why string
	}{
		{name: "no policy", host: shown{netip.MustParseAddr("10.7.0.9"), "S1", secretToken}, token: secretToken},
		{"network", map[string]string{cidrs: "10.8.0.0/24, 10.7.0.0/24"}, shown{from: netip.MustParseAddr("10.7.0.9")}, "", cidrs, "10.7.0.9 in 10.7.0.0/24"},
		{"IPv6 network", map[string]string{cidrs: "fd00:7::/64"}, shown{from: netip.MustParseAddr("fd00:7::9")}, "", cidrs, "fd00:7::9 in fd00:7::/64"},
		{"another network", map[string]string{cidrs: "10.7.0.0/24"}, shown{from: netip.MustParseAddr("10.7.1.9")}, "", "", ""},
		{"another family", map[string]string{cidrs: "0.0.0.0/0"}, shown{from: netip.MustParseAddr("fd00::9")}, "", "", ""},
		{"not heard since a restart", map[string]string{cidrs: "0.0.0.0/0"}, shown{}, "", "", ""},
		{"serial", map[string]string{serials: "S1\nS2"}, shown{serial: "s2"}, "", serials, "serial number s2"},
		{"another serial", map[string]string{serials: "S1,S2"}, shown{serial: "S"}, "", "", ""},
		{"no serial", map[string]string{serials: "S1,,S2"}, shown{}, "", "", ""},
		{"token", map[string]string{token: "join"}, shown{token: secretToken}, secretToken, token, "token of Secret join"},
		{"another token", map[string]string{token: "join"}, shown{token: secretToken + "x"}, secretToken, "", ""},
		{"no token shown", map[string]string{token: "join"}, shown{}, secretToken, "", ""},
		{"no token to compare with", map[string]string{token: "join"}, shown{}, "", "", ""},
		{"the second that fits", map[string]string{cidrs: "10.8.0.0/24", serials: "S1"}, shown{from: netip.MustParseAddr("10.7.0.9"), serial: "S1"}, "", serials, "S1"},
	} {
		p, err := parse(c.annotations)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		policy, why := p.approves(c.host, c.token)
		if policy != c.policy || !strings.Contains(why, c.why) || strings.Contains(why, secretToken) {
			t.Errorf("%s: %q %q", c.name, policy, why)
		}
	}
}

func TestParse(t *testing.T) {
	for problem, annotations := range map[string]map[string]string{
		`"10.7.0.0" is no network`:          {cidrs: "10.7.0.0"},
		`write 10.7.0.0/24`:                 {cidrs: "10.7.0.9/24"},
		`"Join Me" is no name of a Secret`:  {token: "Join Me"},
		`"" is no name of a Secret`:         {token: ""},
		`a list has more than 5000 entries`: {serials: strings.Repeat("S ", most+1)},
		`"fd00::/129" is no network`:        {cidrs: "10.7.0.0/24 fd00::/129"},
	} {
		if p, err := parse(annotations); err == nil || !strings.Contains(err.Error(), problem) || !p.none() {
			t.Errorf("%s: %v", problem, err)
		}
	}
	if p, err := parse(map[string]string{cidrs: " ", serials: ""}); err != nil || !p.none() {
		t.Errorf("%+v, %v", p, err)
	}
	if p, _ := parse(map[string]string{cidrs: "10.7.0.0/24", token: "join"}); p.names() != cidrs+", "+token {
		t.Error(p.names())
	}
	for text, problem := range map[string]string{secretToken: "", "short": "fewer than 16", "0123456789abcde f": "printable"} {
		if err := checkToken("join", text); (err == nil) != (problem == "") || err != nil && (!strings.Contains(err.Error(), problem) || strings.Contains(err.Error(), text)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

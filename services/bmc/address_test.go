package bmc

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]Address{
		"redfish://192.0.2.7":                                           {Redfish, false, "192.0.2.7", 443, ""},
		"redfish+http://192.0.2.7/redfish/v1/Systems/1":                 {Redfish, true, "192.0.2.7", 80, "/redfish/v1/Systems/1"},
		"redfish+https://bmc.Example.org:8443/redfish/v1/":              {Redfish, false, "bmc.example.org", 8443, ""},
		"redfish-virtualmedia://[2001:DB8::7]/redfish/v1/Systems/Self/": {RedfishVirtualMedia, false, "2001:db8::7", 443, "/redfish/v1/Systems/Self"},
		"redfish-uefihttp+http://[fe80::1%25eth0]:8000":                 {RedfishUEFIHTTP, true, "fe80::1%eth0", 8000, ""},
		"idrac-redfish://h/redfish/v1/Systems/System.Embedded.1":        {IDRACRedfish, false, "h", 443, "/redfish/v1/Systems/System.Embedded.1"},
		"idrac-virtualmedia+https://192.0.2.8:443":                      {IDRACVirtualMedia, false, "192.0.2.8", 443, ""},
		"ilo5-virtualmedia://ilo.example.org.":                          {ILO5VirtualMedia, false, "ilo.example.org.", 443, ""},
		"ilo5-redfish://192.0.2.9":                                      {ILO5Redfish, false, "192.0.2.9", 443, ""},
		"  redfish://192.0.2.7\n":                                       {Redfish, false, "192.0.2.7", 443, ""},
	} {
		got, err := ParseAddress(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
		again, err := ParseAddress(got.String())
		if err != nil || again != got {
			t.Errorf("%s: prints as %s, which is %+v, %v", text, got, again, err)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for text, want := range map[string]string{
		"redfish://192.0.2.7:443/redfish/v1/Systems/1": "https://192.0.2.7",
		"redfish+http://[2001:db8::7]:8000":            "http://[2001:db8::7]:8000",
		"redfish://[2001:db8::7]":                      "https://[2001:db8::7]",
		"redfish+http://[fe80::1%25eth0]":              "http://[fe80::1%25eth0]",
	} {
		a, err := ParseAddress(text)
		if err != nil || a.Endpoint() != want {
			t.Errorf("%s: %s, %v; want %s", text, a.Endpoint(), err, want)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for text, word := range map[string]string{
		"":                                         "no scheme",
		"192.0.2.7":                                "no scheme",
		"192.0.2.7:623":                            "no scheme",
		"ipmi://192.0.2.7":                         "only Redfish",
		"libvirt://192.0.2.7":                      "only Redfish",
		"redfish+ftp://192.0.2.7":                  "carrier",
		"redfish://":                               "neither",
		"redfish://2001:db8::7":                    "",
		"redfish://[192.0.2.7]":                    "",
		"redfish://[::]":                           "one machine",
		"redfish://[::ffff:192.0.2.7]":             "one machine",
		"redfish://a b":                            "no URL",
		"redfish://a_b..c":                         "neither",
		"redfish://h:0":                            "port",
		"redfish://h:":                             "port",
		"redfish://h:99999":                        "port",
		"redfish://root:calvin@192.0.2.7":          "Secret",
		"redfish://h/redfish/v1?x=1":               "query",
		"redfish://h/redfish/v1/Managers/1":        "Systems",
		"redfish://h/other":                        "below /redfish/v1",
		"redfish://h/redfish/v1/../../x":           "below /redfish/v1",
		"redfish://h/redfish/v1/Systems/%0a":       "characters",
		"redfish://h/" + strings.Repeat("x", 3000): "at most",
	} {
		_, err := ParseAddress(text)
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v; want a word about %q", text, err, word)
		}
		if err != nil && strings.Contains(err.Error(), "calvin") {
			t.Errorf("%s: the error holds the password", text)
		}
	}
	if _, err := ParseAddress("redfish://root:cal vin@\x7f"); err == nil || strings.Contains(err.Error(), "vin") {
		t.Errorf("error of a broken URL holds its password: %v", err)
	}
}

func TestSchemeBoot(t *testing.T) {
	for scheme, want := range map[Scheme]Boot{
		Redfish: BootPXE, RedfishVirtualMedia: BootCD, RedfishUEFIHTTP: BootHTTP, IDRACRedfish: BootPXE, IDRACVirtualMedia: BootCD, ILO5VirtualMedia: BootCD,
	} {
		if got := scheme.Boot(); got != want {
			t.Errorf("%s: %s; want %s", scheme, got, want)
		}
	}
}

func TestCredentialsShowNoPassword(t *testing.T) {
	c := Credentials{"root", "calvin"}
	inJSON, _ := json.Marshal(map[string]any{"c": c})
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s", c, Config{Credentials: c}, c, &c), c.LogValue().String(), string(inJSON)} {
		if strings.Contains(text, "calvin") {
			t.Errorf("password in %s", text)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, seed := range []string{
		"redfish://192.0.2.7", "redfish-virtualmedia+http://[2001:db8::7]:8000/redfish/v1/Systems/1", "idrac-virtualmedia://h/redfish/v1",
		"redfish://[fe80::1%25eth0]", "ilo5://a.b:1", "redfish://u:p@h", "://",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(text)
		if err != nil {
			return
		}
		again, err := ParseAddress(a.String())
		if err != nil || again != a {
			t.Fatalf("%q is %+v, prints as %q, which is %+v, %v", text, a, a, again, err)
		}
	})
}

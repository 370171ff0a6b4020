package ignition

import (
	"bytes"
	"testing"
	"text/template"

	"sigs.k8s.io/yaml"
)

// The template is filled by containerd; what comes out must be what CNI reads.
func TestCNITemplate(t *testing.T) {
	raw, err := Node(nodeInput())
	if err != nil {
		t.Fatal(err)
	}
	text := content(t, fileOf(t, raw, "/etc/containerd/cni.conflist.template").Contents)
	for name, ranges := range map[string][]string{"one": {"10.1.0.0/24"}, "two": {"10.1.0.0/24", "fd01::/64"}} {
		var out bytes.Buffer
		err := template.Must(template.New(name).Parse(text)).Execute(&out, map[string]any{
			"PodCIDR": ranges[0], "PodCIDRRanges": ranges, "Routes": []string{"0.0.0.0/0", "::/0"},
		})
		if err != nil {
			t.Fatal(err)
		}
		var parsed struct {
			Plugins []struct {
				IPAM struct {
					Ranges [][]struct{ Subnet string }
					Routes []struct{ Dst string }
				}
			}
		}
		if err := yaml.UnmarshalStrict(out.Bytes(), &map[string]any{}); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if err := yaml.Unmarshal(out.Bytes(), &parsed); err != nil {
			t.Fatal(err)
		}
		if len(parsed.Plugins[0].IPAM.Ranges) != len(ranges) || len(parsed.Plugins[0].IPAM.Routes) != 2 {
			t.Errorf("%s: %+v", name, parsed)
		}
	}
}

package registry

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

func TestImagesByTheirOriginalNames(t *testing.T) {
	for _, host := range loopbacks {
		s := newSite(t, host, Access{Anonymous: false, Public: []string{"*/open"}, Users: pushers(t).Users})
		raw := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
		for _, repository := range []string{"m/open", "m/closed"} {
			s.want(t, http.StatusCreated, "pusher", http.MethodPut, "/v2/"+repository+"/manifests/v1", raw, "Content-Type", "application/vnd.oci.image.index.v1+json")
		}
		s.want(t, http.StatusNotFound, "", http.MethodGet, "/v2/_mirror/c/a/b/manifests/v1?ns=quay.io", "")
		var asked []string
		s.Registry.Mirror(func(_ context.Context, view, host, repository string, byDigest bool) (Places, error) {
			asked = append(asked, view+" "+host+" "+repository)
			switch repository {
			case "a/open":
				return Places{Here: []string{"m/none", "m/open"}, Elsewhere: "https://elsewhere.example/v2/x"}, nil
			case "a/closed":
				return Places{Here: []string{"m/closed"}}, nil
			case "a/away":
				return Places{Elsewhere: "https://[fd00::1]:5000/v2/x/y"}, nil
			}
			return Places{Here: []string{"m/none"}, Why: "because"}, nil
		})
		s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		d := digestOf(sha256Name, []byte(raw)).String()
		for _, c := range []struct {
			user, method, path string
			status             int
			answer             string
		}{
			{"", "GET", "/v2/_mirror/clusters-demo/a/open/manifests/v1?ns=quay.io", 200, raw},
			{"", "GET", "/v2/_mirror/clusters-demo/a/open/manifests/" + d + "?ns=[fd00::1]:5000", 200, raw},
			{"", "HEAD", "/v2/_mirror/clusters-demo/a/open/manifests/v1", 200, ""},
			{"", "GET", "/v2/_mirror/clusters-demo/a/open/blobs/" + d + "?ns=quay.io", 200, raw}, // a manifest is a blob, too
			{"", "GET", "/v2/_mirror/clusters-demo/a/open/blobs/sha256:" + strings.Repeat("0", 64) + "?ns=quay.io", 307, ""},
			{"", "GET", "/v2/_mirror/clusters-demo/a/closed/manifests/v1?ns=quay.io", 401, "UNAUTHORIZED"},
			{"pusher", "GET", "/v2/_mirror/clusters-demo/a/closed/manifests/v1?ns=quay.io", 200, raw},
			{"", "GET", "/v2/_mirror/clusters-demo/a/away/manifests/v1?ns=quay.io", 307, ""},
			{"", "GET", "/v2/_mirror/clusters-demo/a/gone/manifests/v1?ns=quay.io", 404, "because"},
			{"", "GET", "/v2/_mirror/clusters-demo/a/open/tags/list?ns=quay.io", 404, ""},
			{"pusher", "PUT", "/v2/_mirror/clusters-demo/a/open/manifests/v2?ns=quay.io", 405, ""},
			{"pusher", "POST", "/v2/_mirror/clusters-demo/a/open/blobs/uploads/?ns=quay.io", 404, ""},
			{"", "GET", "/v2/_mirror/Clusters/a/open/manifests/v1?ns=quay.io", 404, ""},
			{"", "GET", "/v2/_mirror/clusters-demo/a/open/manifests/v1?ns=quay.io%2Fx", 400, ""},
			{"", "GET", "/v2/_mirror/clusters-demo/A/open/manifests/v1?ns=quay.io", 400, ""},
			{"", "GET", "/v2/_mirror/clusters-demo/a/away/manifests/..%2Fx?ns=quay.io", 404, ""},
			{"", "GET", "/v2/_mirror/clusters-demo/a/away/manifests/x:y?ns=quay.io", 400, ""},
			{"", "GET", "/v2/_mirror/clusters-demo/_token", 404, ""},
		} {
			resp := s.want(t, c.status, c.user, c.method, c.path, "")
			if got := text(t, resp); !strings.Contains(got, c.answer) {
				t.Errorf("%s %s: %s, want %s", c.method, c.path, got, c.answer)
			}
			if want := "https://[fd00::1]:5000/v2/x/y/manifests/v1"; strings.Contains(c.path, "away/manifests/v1") && resp.Header.Get("Location") != want {
				t.Errorf("%s: sent to %s, want %s", c.path, resp.Header.Get("Location"), want)
			}
		}
		if asked[0] != "clusters-demo quay.io a/open" || asked[1] != "clusters-demo [fd00::1]:5000 a/open" || asked[2] != "clusters-demo  a/open" {
			t.Errorf("asked %q", asked)
		}
	}
}

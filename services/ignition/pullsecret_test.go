package ignition

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func TestAuthorization(t *testing.T) {
	const registry = "registry.site.example:5000"
	encoded := base64.StdEncoding.EncodeToString([]byte("node:a:b"))
	for name, test := range map[string]struct{ secret, want, fault string }{
		"none":          {secret: ""},
		"empty":         {secret: `{"auths":{}}`},
		"another":       {secret: `{"auths":{"quay.io":{"auth":"` + encoded + `"},"registry.site.example":{"auth":"` + encoded + `"}}}`},
		"auth":          {secret: `{"auths":{"registry.site.example:5000":{"auth":"` + encoded + `"}}}`, want: "node:a:b"},
		"scheme":        {secret: `{"auths":{"https://registry.site.example:5000/":{"auth":"` + encoded + `"}}}`, want: "node:a:b"},
		"two fields":    {secret: `{"auths":{"registry.site.example:5000":{"username":"node","password":"x\"\n"}}}`, want: "node:x\"\n"},
		"broken":        {secret: `{"auths":"s3cret"}`, fault: "podman login --authfile"},
		"not base64":    {secret: `{"auths":{"registry.site.example:5000":{"auth":"s3cret!"}}}`, fault: "auth of registry.site.example:5000 is not base64"},
		"no pair":       {secret: `{"auths":{"registry.site.example:5000":{"auth":"bm9kZQ=="}}}`, fault: "is not user:password"},
		"nobody":        {secret: `{"auths":{"registry.site.example:5000":{}}}`, fault: "is not user:password"},
		"of no concern": {secret: `{"auths":{"quay.io":{"auth":"s3cret!"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			secret, err := readPullSecret([]byte(test.secret))
			got := ""
			if err == nil {
				got, err = secret.authorization(registry)
			}
			if test.fault != "" {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.fault) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("%v, want %q", err, test.fault)
				}
				return
			}
			want := ""
			if test.want != "" {
				want = "Basic " + base64.StdEncoding.EncodeToString([]byte(test.want))
			}
			if err != nil || got != want {
				t.Errorf("%q, %v, want %q", got, err, want)
			}
		})
	}
}

func TestNodeLogsIn(t *testing.T) {
	in := nodeInput()
	in.PullSecret = []byte(`{"auths":{"registry.site.example:5000":{"auth":"bm9kZTpwdWxs"}}}`)
	raw, err := Node(in)
	if err != nil {
		t.Fatal(err)
	}
	kubelet, hosts := fileOf(t, raw, nodeCredentials), fileOf(t, raw, "/etc/containerd/certs.d/_default/hosts.toml")
	for _, file := range []struct {
		mode int
		text string
		want string
	}{
		{*kubelet.Mode, content(t, kubelet.Contents), string(in.PullSecret)},
		{*hosts.Mode, content(t, hosts.Contents), "\n[header]\n  Authorization = \"Basic bm9kZTpwdWxs\"\n"},
	} {
		if file.mode != 0o600 || !strings.HasSuffix(strings.TrimSuffix(file.text, "\n"), strings.TrimSuffix(file.want, "\n")) {
			t.Errorf("mode %o: %s", file.mode, file.text)
		}
	}
	if own := content(t, fileOf(t, raw, "/etc/containerd/certs.d/registry.site.example:5000/hosts.toml").Contents); strings.Contains(own, "bm9kZTpwdWxs") {
		t.Error("pods bring their own credentials to the site's registry")
	}
	in.PullSecret = []byte(`{"auths":{"registry.site.example:5000":{"auth":"?"}}}`)
	if _, err := Node(in); !errors.Is(err, ErrInvalid) {
		t.Errorf("a pull secret that is none: %v", err)
	}
}

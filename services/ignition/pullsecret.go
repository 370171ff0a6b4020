package ignition

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// nodeCredentials is where a kubelet looks for the credentials of all pods.
const nodeCredentials = "/var/lib/kubelet/config.json"

// credentials are the entries of a pull secret, by registry or repository.
type credentials struct {
	Auths map[string]struct {
		Auth     string `json:"auth"`
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"auths"`
}

// readPullSecret reads a Secret's .dockerconfigjson; nothing is as good as an empty one. What it says is in no error.
func readPullSecret(raw []byte) (credentials, error) {
	var c credentials
	if len(raw) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf(`%w: pull secret: it is not JSON of the form {"auths":{"registry:5000":{"auth":"…"}}}, as podman login --authfile writes it`, ErrInvalid)
	}
	return c, nil
}

// authorization is the header by which a node logs in to a registry, host:port; empty without an entry for it.
func (c credentials) authorization(registry string) (string, error) {
	for _, key := range []string{registry, "https://" + registry, "https://" + registry + "/"} {
		entry, found := c.Auths[key]
		if !found {
			continue
		}
		pair := entry.Username + ":" + entry.Password
		if entry.Auth != "" {
			decoded, err := base64.StdEncoding.DecodeString(entry.Auth)
			if err != nil {
				return "", fmt.Errorf("%w: pull secret: auth of %s is not base64", ErrInvalid, key)
			}
			pair = strings.TrimRight(string(decoded), "\x00")
		}
		if name, _, found := strings.Cut(pair, ":"); !found || name == "" {
			return "", fmt.Errorf("%w: pull secret: auth of %s is not user:password", ErrInvalid, key)
		}
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)), nil
	}
	return "", nil
}

// login gives a node what the cluster's pull secret has: the kubelet all of it, for images by the names of their registries, and containerd what the
// site's registry wants for images of all others, because a kubelet looks credentials up by an image's name and not by the mirror that has it.
func (b *builder) login(in NodeInput) (header string, err error) {
	secret, err := readPullSecret(in.PullSecret)
	if err != nil {
		return "", err
	}
	if len(secret.Auths) > 0 {
		b.file(nodeCredentials, 0o600, in.PullSecret)
	}
	authorization, err := secret.authorization(in.Registry)
	if err != nil || authorization == "" {
		return "", err
	}
	return "[header]\n  Authorization = \"" + authorization + "\"\n", nil
}

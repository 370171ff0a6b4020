//go:build e2e

package gap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/slipway-io/slipway/test/site"
)

// htpasswd is the user who brings the first release, before there is an API to name users in.
func htpasswd(t *testing.T, dir string) string {
	path := filepath.Join(dir, "htpasswd")
	must(t, os.WriteFile(path, user(t, "carrier", "carried"), 0o600))
	return path
}

func user(t *testing.T, name, password string) []byte {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	must(t, err)
	return append([]byte(name+":"), hash...)
}

// nameNodes names a user for the cluster's nodes, who may pull what was mirrored and push nothing; it returns the file of their pull secret.
func nameNodes(t *testing.T, ctx context.Context, r *site.Rehearsal) string {
	kubectl, err := r.Kubectl(ctx)
	must(t, err)
	users, rights, pullSecret := filepath.Join(r.Dir, "users"), filepath.Join(r.Dir, "rights"), filepath.Join(r.Dir, "pull-secret.json")
	must(t, os.WriteFile(users, user(t, "nodes", "pulling"), 0o600))
	must(t, os.WriteFile(rights, []byte("nodes pull mirror/*\n"), 0o600))
	must(t, os.WriteFile(pullSecret, fmt.Appendf(nil, `{"auths":{%q:{"username":"nodes","password":"pulling"}}}`, "registry."+site.Domain+":5000"), 0o600))
	must(t, command(ctx, r, "site", exec.CommandContext(ctx, kubectl, "--kubeconfig", r.Kubeconfig(), "create", "secret", "generic", "registry-users",
		"--namespace", "slipway-system", "--from-file", "htpasswd="+users, "--from-file", "rights="+rights)))
	return pullSecret
}

// checkNobodyPulls: without a login the workload is to be had neither by its place nor by its original name.
func checkNobodyPulls(t *testing.T, ctx context.Context, r *site.Rehearsal) {
	pem, err := os.ReadFile(filepath.Join(r.StateDir(), "pki", "site-ca.crt"))
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	asker := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	for _, path := range []string{"/v2/mirror/team/hello/manifests/v1", "/v2/_mirror/" + site.ClusterNamespace + "-" + site.ClusterName + "/team/hello/manifests/v1?ns=" + sourceHost} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+registryOf(r)+path, nil)
		must(t, err)
		response, err := asker.Do(request)
		must(t, err)
		must(t, response.Body.Close())
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("GET %s without a login: %s", path, response.Status)
		}
	}
}

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/slipway-io/slipway/test/site"
)

// documentedPorts are those of docs/ports.md; loopback is checked apart.
var documentedPorts = []string{"53", "67", "69", "5000", "6443", "8080", "8443"}

func checkPorts(t *testing.T) {
	out, err := exec.Command("ss", "-Hlntup").CombinedOutput()
	if err != nil {
		t.Fatalf("ss: %v: %s", err, out)
	}
	lines := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		lines++
		local := fields[4]
		host, port := local[:strings.LastIndex(local, ":")], local[strings.LastIndex(local, ":")+1:]
		address, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if host == "127.0.0.1" || host == "[::1]" || err == nil && site.IsBMC(address) {
			continue
		}
		if !slices.Contains(documentedPorts, port) {
			t.Errorf("not documented: %s", strings.TrimSpace(line))
		}
	}
	if lines < 5 {
		t.Errorf("ss shows only %d sockets:\n%s", lines, out)
	}
}

// checkRefusals asks as strangers do.
func checkRefusals(t *testing.T, ctx context.Context, r *site.Rehearsal) {
	envs := &agentv1beta1.InfraEnvList{}
	must(t, r.Management.List(ctx, envs))
	if len(envs.Items) == 0 {
		t.Fatal("no InfraEnv")
	}
	id := string(envs.Items[0].UID)
	base := "https://" + site.Addresses()[0].Addr().String() + ":8443"
	// The certificate is checked by the machines, with the site's CA; here only refusals are looked at.
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for _, ask := range []struct {
		method, path string
		header       http.Header
		want         []int
	}{
		{"POST", "/api/assisted-install/v2/infra-envs/" + id + "/hosts", nil, []int{401, 403}},
		{"POST", "/api/assisted-install/v2/infra-envs/" + id + "/hosts", http.Header{"X-Secret-Key": {"guess"}}, []int{401, 403}},
		{"GET", "/images/" + id + "/pxe-initrd?arch=x86_64&api_key=guess", nil, []int{401, 403}},
		{"GET", "/ignition", nil, []int{401, 403}},
		{"GET", "/ignition", http.Header{"Authorization": {"Bearer c3RhbGU="}}, []int{401, 403}},
		{"GET", "/boot-artifacts/../../etc/passwd", nil, []int{400, 404}},
		{"GET", "/api/assisted-install/v2/clusters", http.Header{"X-Secret-Key": {"guess"}}, []int{401, 403, 404, 501}},
	} {
		request, err := http.NewRequestWithContext(ctx, ask.method, base+ask.path, strings.NewReader("{}"))
		must(t, err)
		request.Header = ask.header.Clone()
		if request.Header == nil {
			request.Header = http.Header{}
		}
		request.Header.Set("Content-Type", "application/json")
		answer, err := client.Do(request)
		if err != nil {
			t.Errorf("%s %s: %v", ask.method, ask.path, err)
			continue
		}
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
		answer.Body.Close()
		if !slices.Contains(ask.want, answer.StatusCode) {
			t.Errorf("%s %s: %d, want one of %v: %s", ask.method, ask.path, answer.StatusCode, ask.want, body)
		}
	}
}

// checkSecrets reads the state directory as somebody else.
func checkSecrets(t *testing.T, r *site.Rehearsal) {
	var refused bytes.Buffer
	find := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "find", r.StateDir(), "-type", "f", "-readable")
	find.Stderr = &refused
	// find ends with an error as soon as one directory is refused; what it could read counts all the same.
	readable, _ := find.Output()
	if len(bytes.TrimSpace(readable)) > 0 {
		t.Errorf("another user can read: %s", readable)
	}
	if !bytes.Contains(refused.Bytes(), []byte("Permission denied")) {
		t.Errorf("the state directory was not even refused: %s", refused.String())
	}
}

// checkForeignCSR asks for the identity of a node that is no Agent's.
func checkForeignCSR(t *testing.T, ctx context.Context, r *site.Rehearsal) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:intruder", Organization: []string{"system:nodes"}},
	}, key)
	must(t, err)
	request := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "intruder"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	}
	csrs := r.Hosted.CertificatesV1().CertificateSigningRequests()
	_, err = csrs.Create(ctx, request, metav1.CreateOptions{})
	must(t, err)
	time.Sleep(5 * time.Second)
	seen, err := csrs.Get(ctx, request.Name, metav1.GetOptions{})
	must(t, err)
	for _, condition := range seen.Status.Conditions {
		if condition.Type == certificatesv1.CertificateApproved {
			t.Errorf("approved for nobody's name: %s", condition.Message)
		}
	}
	if len(seen.Status.Certificate) > 0 {
		t.Error("signed for nobody's name")
	}
}

// checkColumns runs the release's kubectl as a person does.
func checkColumns(t *testing.T, ctx context.Context, r *site.Rehearsal) {
	kubectl, err := r.Kubectl(ctx)
	must(t, err)
	out, err := exec.CommandContext(ctx, kubectl, "--kubeconfig", r.Kubeconfig(), "get", "infraenv,agents,hostedclusters,nodepools,machines", "-A").CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl get: %v: %s", err, out)
	}
	t.Logf("\n%s", out)
	for _, header := range []string{
		`NAMESPACE\s+NAME\s+ISO CREATED AT`,
		`NAMESPACE\s+NAME\s+CLUSTER\s+APPROVED\s+ROLE\s+STAGE`,
		`NAMESPACE\s+NAME\s+VERSION\s+KUBECONFIG\s+PROGRESS\s+AVAILABLE\s+PROGRESSING\s+MESSAGE`,
		`NAMESPACE\s+NAME\s+CLUSTER\s+DESIRED NODES\s+CURRENT NODES\s+AUTOSCALING\s+AUTOREPAIR\s+VERSION\s+UPDATINGVERSION\s+UPDATINGCONFIG\s+MESSAGE`,
		`NAMESPACE\s+NAME\s+CLUSTER\s+NODE ?NAME`,
	} {
		if !regexp.MustCompile(header).Match(out) {
			t.Errorf("no columns %s", header)
		}
	}
}

// polling asks the hosted API every 100 ms, on fresh connections as well as on a kept one.
type polling struct {
	stop          context.CancelFunc
	done          chan struct{}
	polls, failed atomic.Int64
	last          atomic.Value
}

func startPolling(ctx context.Context, r *site.Rehearsal) *polling {
	ctx, cancel := context.WithCancel(ctx)
	p := &polling{stop: cancel, done: make(chan struct{})}
	config := rest.CopyConfig(r.HostedConfig)
	config.Timeout = 20 * time.Second
	go func() {
		defer close(p.done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			clients, err := kubernetes.NewForConfig(config)
			if err == nil {
				_, err = clients.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
			}
			if ctx.Err() != nil {
				return
			}
			p.polls.Add(1)
			if err != nil {
				p.failed.Add(1)
				p.last.Store(time.Now().Format(time.TimeOnly) + " " + err.Error())
			}
		}
	}()
	return p
}

func (p *polling) check(t *testing.T) {
	t.Helper()
	p.stop()
	<-p.done
	t.Logf("hosted API: %d polls, %d failed", p.polls.Load(), p.failed.Load())
	if p.polls.Load() < 100 {
		t.Errorf("only %d polls: nothing was shown", p.polls.Load())
	}
	if p.failed.Load() > 0 {
		t.Errorf("%d of %d polls of the hosted API failed, the last: %v", p.failed.Load(), p.polls.Load(), p.last.Load())
	}
}

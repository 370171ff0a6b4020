package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	clientcmd "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 123, time.UTC)

func testSpec() Spec {
	return Spec{
		Namespace: "clusters-demo", ClusterName: "clusters-demo",
		APIURL: "https://api.demo.site.example:30443", LocalAPIURL: "https://127.0.0.1:30443",
		APINames: []string{"kubernetes", "localhost", "API.demo.site.example."},
		APIAddrs: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::ffff:192.0.2.10"), netip.MustParseAddr("2001:db8::10"), {}},
	}
}

func desired(t *testing.T, spec Spec, existing map[string]*corev1.Secret, now time.Time) (map[string]*corev1.Secret, time.Time) {
	t.Helper()
	out, next, err := Desired(spec, existing, now)
	if err != nil {
		t.Fatalf("at %s: %v", now, err)
	}
	return out, next
}

// changed lists the secrets whose content differs.
func changed(a, b map[string]*corev1.Secret) []string {
	var names []string
	for name := range b {
		if a[name] == nil || !maps.EqualFunc(a[name].Data, b[name].Data, bytes.Equal) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func certificate(t *testing.T, secret *corev1.Secret) *x509.Certificate {
	t.Helper()
	for _, key := range []string{KeyCert, "server.crt", "peer.crt", "etcd-client.crt"} {
		if block, _ := pem.Decode(secret.Data[key]); block != nil {
			return parse(t, block.Bytes)
		}
	}
	if data := secret.Data[KeyKubeconfig]; data != nil {
		var config clientcmd.Config
		if err := yaml.UnmarshalStrict(data, &config); err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(config.AuthInfos[0].AuthInfo.ClientCertificateData)
		return parse(t, block.Bytes)
	}
	block, _ := pem.Decode(secret.Data[KeyCACert])
	return parse(t, block.Bytes)
}

func parse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// checkValid verifies every leaf against its authority at the given moment.
func checkValid(t *testing.T, spec Spec, secrets map[string]*corev1.Secret, now time.Time) {
	t.Helper()
	all := leaves(spec)
	for _, k := range kubeconfigs(spec) {
		all = append(all, k.leaf)
	}
	for _, l := range all {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(secrets[l.ca].Data[KeyCACert])
		_, err := certificate(t, secrets[l.secret]).Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: l.usages()})
		if err != nil {
			t.Fatalf("%s at %s: %v", l.secret, now, err)
		}
	}
}

// TestFixpoint walks a quarter of a century in steps of all sizes. Nothing may change before the
// announced moment, something has to change then, and nothing may ever be invalid.
func TestFixpoint(t *testing.T) {
	for _, test := range []struct {
		desc              string
		validity, renewal time.Duration
		end               time.Duration
	}{
		{"defaults", 0, 0, 25 * 365 * day},
		{"renewal longer than life", 40 * day, 90 * day, 365 * day},
		{"minutes", 10 * time.Minute, time.Minute, 3 * time.Hour},
		{"longer than the authority", 20 * 365 * day, 30 * day, 40 * 365 * day},
	} {
		t.Run(test.desc, func(t *testing.T) {
			spec := testSpec()
			spec.Validity, spec.Renewal = test.validity, test.renewal
			walk(t, spec, start.Add(test.end))
		})
	}
}

func walk(t *testing.T, spec Spec, end time.Time) {
	random := rand.New(rand.NewPCG(1, 2))
	now := start
	secrets, next := desired(t, spec, nil, now)
	authorities := map[string][]byte{}
	for _, name := range []string{RootCA, EtcdSigner, ClusterSigner} {
		authorities[name] = secrets[name].Data[KeyCAKey]
	}
	for now.Before(end) {
		if !next.After(now) {
			t.Fatalf("at %s: next is %s", now, next)
		}
		quiet := next.Sub(now)
		for _, offset := range []time.Duration{0, time.Duration(random.Int64N(int64(quiet))), quiet - 1} {
			again, same := desired(t, spec, secrets, now.Add(offset))
			if names := changed(secrets, again); len(names) > 0 || !same.Equal(next) {
				t.Fatalf("%s after %s: changed %v, next %s instead of %s", offset, now, names, same, next)
			}
			checkValid(t, spec, again, now.Add(offset))
		}
		// Mostly on time, sometimes late, but never so late that something expired.
		now = next.Add(time.Duration(random.Int64N(int64(time.Minute))) * time.Duration(random.IntN(2)))
		renewed, after := desired(t, spec, secrets, now)
		if len(changed(secrets, renewed)) == 0 {
			t.Fatalf("at %s: nothing changed although it was announced", now)
		}
		checkValid(t, spec, renewed, now)
		secrets, next = renewed, after
	}
	for name, key := range authorities {
		if !bytes.Equal(secrets[name].Data[KeyCAKey], key) {
			t.Errorf("%s has another key", name)
		}
	}
}

func TestSpecChangesReissueOnlyWhatDependsOnThem(t *testing.T) {
	for _, test := range []struct {
		desc   string
		change func(*Spec)
		want   []string
	}{
		{"nothing", func(*Spec) {}, nil},
		{"order and spelling of SANs", func(s *Spec) {
			s.APINames = []string{"api.demo.site.example", "localhost", "Kubernetes", "kubernetes"}
			slices.Reverse(s.APIAddrs)
		}, nil},
		{"name added", func(s *Spec) { s.APINames = append(s.APINames, "extra.example") }, []string{KASServer}},
		{"address added", func(s *Spec) { s.APIAddrs = append(s.APIAddrs, netip.MustParseAddr("2001:db8::11")) }, []string{KASServer}},
		{"name removed", func(s *Spec) { s.APINames = s.APINames[:2] }, []string{KASServer}},
		{"etcd name", func(s *Spec) { s.EtcdNames = []string{"etcd-0"} }, []string{EtcdPeer, EtcdServer}},
		{"URL", func(s *Spec) { s.APIURL = "https://other.example:6443" }, []string{AdminKubeconfig}},
		{"local URL", func(s *Spec) { s.LocalAPIURL = "https://[::1]:6443" }, []string{KCMKubeconfig, SchedulerKubeconfig, LocalhostKubeconfig}},
	} {
		t.Run(test.desc, func(t *testing.T) {
			spec := testSpec()
			before, _ := desired(t, spec, nil, start)
			test.change(&spec)
			after, _ := desired(t, spec, before, start.Add(time.Hour))
			slices.Sort(test.want)
			if got := changed(before, after); !slices.Equal(got, test.want) {
				t.Errorf("changed %v, want %v", got, test.want)
			}
			again, _ := desired(t, spec, after, start.Add(2*time.Hour))
			if got := changed(after, again); len(got) > 0 {
				t.Errorf("changed again: %v", got)
			}
		})
	}
}

// TestURLKeepsCertificate: another address of the API is no reason for another client certificate.
func TestURLKeepsCertificate(t *testing.T) {
	spec := testSpec()
	before, _ := desired(t, spec, nil, start)
	spec.APIURL = "https://other.example:6443"
	after, _ := desired(t, spec, before, start)
	if !certificate(t, before[AdminKubeconfig]).Equal(certificate(t, after[AdminKubeconfig])) {
		t.Error("the client certificate was reissued")
	}
}

func TestForeignContent(t *testing.T) {
	other, _ := desired(t, testSpec(), nil, start)
	for _, test := range []struct {
		desc, secret string
		data         map[string][]byte
		want         []string
	}{
		{"gone", KASServer, nil, []string{KASServer}},
		{"garbage", KASServer, map[string][]byte{KeyCert: []byte("x"), KeyPrivate: []byte("y")}, []string{KASServer}},
		{"other issuer", KASServer, other[KASServer].Data, []string{KASServer}},
		{"key of another", EtcdServer, map[string][]byte{"server.crt": other[EtcdServer].Data["server.crt"], "server.key": other[KASServer].Data[KeyPrivate]}, []string{EtcdServer}},
		{"cut off kubeconfig", AdminKubeconfig, map[string][]byte{KeyKubeconfig: other[AdminKubeconfig].Data[KeyKubeconfig][:200]}, []string{AdminKubeconfig}},
		{"bundle", ClientCA, map[string][]byte{KeyCACert: []byte("nonsense")}, nil},
		{"authority gone", EtcdSigner, nil, []string{EtcdClient, EtcdPeer, EtcdServer, EtcdSigner}},
		{"authority of a user", EtcdSigner, other[EtcdSigner].Data, []string{EtcdClient, EtcdPeer, EtcdServer, EtcdSigner}},
	} {
		t.Run(test.desc, func(t *testing.T) {
			good, _ := desired(t, testSpec(), nil, start)
			broken := maps.Clone(good)
			broken[test.secret] = good[test.secret].DeepCopy()
			broken[test.secret].Data = test.data
			fixed, next := desired(t, testSpec(), broken, start.Add(time.Hour))
			if got := changed(good, fixed); !slices.Equal(got, test.want) {
				t.Errorf("changed %v, want %v", got, test.want)
			}
			checkValid(t, testSpec(), fixed, start.Add(time.Hour))
			if again, _ := desired(t, testSpec(), fixed, next.Add(-time.Second)); len(changed(fixed, again)) > 0 {
				t.Error("changed again")
			}
		})
	}
}

// TestDamagedAuthority: what everybody trusts is never replaced behind the administrator's back.
func TestDamagedAuthority(t *testing.T) {
	other, _ := desired(t, testSpec(), nil, start)
	for _, test := range []struct {
		desc, secret, key string
		value             []byte
	}{
		{"no certificate", RootCA, KeyCACert, nil},
		{"no key", RootCA, KeyCAKey, nil},
		{"garbage", ClusterSigner, KeyCACert, []byte("x")},
		{"key of another", EtcdSigner, KeyCAKey, other[RootCA].Data[KeyCAKey]},
		{"a leaf", RootCA, KeyCACert, other[KASServer].Data[KeyCert]},
		{"garbage signing key", SASigningKey, KeySAPrivate, []byte("x")},
		{"no signing key", SASigningKey, KeySAPrivate, nil},
	} {
		t.Run(test.desc, func(t *testing.T) {
			secrets, _ := desired(t, testSpec(), nil, start)
			secrets[test.secret].Data[test.key] = test.value
			if _, _, err := Desired(testSpec(), secrets, start); !errors.Is(err, ErrDamaged) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// TestClockSetBack: a machine that woke up in the future must not have to wait for it.
func TestClockSetBack(t *testing.T) {
	secrets, _ := desired(t, testSpec(), nil, start.Add(5*365*day))
	back, _ := desired(t, testSpec(), secrets, start)
	checkValid(t, testSpec(), back, start)
	if !bytes.Equal(secrets[RootCA].Data[KeyCAKey], back[RootCA].Data[KeyCAKey]) {
		t.Error("the authority has another key")
	}
}

// TestMetadataIsKept: writing back needs the resource version, and owners must not get lost.
func TestMetadataIsKept(t *testing.T) {
	secrets, _ := desired(t, testSpec(), nil, start)
	if secrets[KASServer].Type != corev1.SecretTypeTLS || secrets[KASServer].Namespace != "clusters-demo" {
		t.Errorf("new secret is %v", secrets[KASServer].ObjectMeta)
	}
	secrets[KASServer].ResourceVersion = "7"
	secrets[KASServer].Type = corev1.SecretTypeOpaque
	later, _ := desired(t, testSpec(), secrets, start.Add(360*day))
	if got := later[KASServer]; got.ResourceVersion != "7" || got.Type != corev1.SecretTypeOpaque {
		t.Errorf("renewed secret is %v", got.ObjectMeta)
	}
	if bytes.Equal(later[KASServer].Data[KeyCert], secrets[KASServer].Data[KeyCert]) {
		t.Error("not renewed")
	}
}

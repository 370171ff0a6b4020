package baremetalhost

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmh"
)

// caKey of the ConfigMaps with certificates.
const caKey = "ca.crt"

// Access finds out how the BMC of a host is reached: its address, its Secret, and which certificates are good.
type Access struct {
	Client client.Client
	// Namespace of the appliance, with the ConfigMap of the site's BMCs.
	Namespace string
	// CA of the appliance in PEM, always trusted.
	CA  []byte
	Log *slog.Logger
	// Wait between tries; nil waits that long.
	Wait func(context.Context, time.Duration) error
	// Asked is told of every request to a BMC; nil: nobody is.
	Asked func(method, result string, took time.Duration)

	mu sync.Mutex
	// trusts by what they are made of, so that equal ones are one: the pool keeps connections by them.
	trusts map[[sha256.Size]byte]*tls.Config
}

// trustsLimit is more than there are hosts; beyond it all are made anew.
const trustsLimit = 20000

// Login is a way to a BMC.
type Login struct {
	Config bmc.Config
	Secret *corev1.Secret
	// Inputs is another value whenever the Secret or the CA is another.
	Inputs string
}

// Login to the host's BMC; the error is a bmc.Fault when it is the user's to mend. The Secret is there whenever it was read.
func (a *Access) Login(ctx context.Context, host *metal3v1alpha1.BareMetalHost) (Login, error) {
	address, err := bmc.ParseAddress(host.Spec.BMC.Address)
	if err != nil {
		return Login{}, &bmc.Fault{Kind: bmh.Address, Err: fmt.Errorf("spec.bmc.address: %w", err)}
	}
	secret := &corev1.Secret{}
	key := host.CredentialsKey()
	if err := a.Client.Get(ctx, key, secret); err != nil {
		if apierrors.IsNotFound(err) {
			return Login{}, &bmc.Fault{Kind: bmh.Secret, Err: fmt.Errorf("spec.bmc.credentialsName: there is no Secret %s: create it with the keys username and password", key)}
		}
		return Login{}, fmt.Errorf("read Secret %s: %w", key, err)
	}
	credentials := bmc.Credentials{Username: strings.TrimSpace(string(secret.Data["username"])), Password: strings.TrimSpace(string(secret.Data["password"]))}
	login := Login{Secret: secret, Inputs: secret.ResourceVersion}
	if credentials.Username == "" || credentials.Password == "" {
		return login, &bmc.Fault{Kind: bmh.Secret, Err: fmt.Errorf("the Secret %s lacks the key username or password", key)}
	}
	trust, err := a.trust(ctx, host)
	if err != nil {
		return login, err
	}
	login.Inputs += fmt.Sprintf("|%p", trust)
	login.Config = bmc.Config{Address: address, Credentials: credentials, TLS: trust, Log: a.Log, Wait: a.Wait, Asked: a.Asked}
	return login, nil
}

// trust of a host: the system's roots, the appliance's CA, the site's and its own.
func (a *Access) trust(ctx context.Context, host *metal3v1alpha1.BareMetalHost) (*tls.Config, error) {
	if host.Spec.BMC.DisableCertificateVerification {
		return a.made("insecure", func() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }), nil
	}
	pem := string(a.CA)
	site, found, err := a.ca(ctx, types.NamespacedName{Namespace: a.Namespace, Name: api.SiteBMCCA})
	if err != nil {
		return nil, err
	}
	if found {
		pem += "\n" + site
	}
	if name := host.Annotations[api.BMCCAAnnotation]; name != "" {
		key := types.NamespacedName{Namespace: host.Namespace, Name: name}
		own, found, err := a.ca(ctx, key)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, &bmc.Fault{Kind: bmh.Trust, Err: fmt.Errorf("annotation %s: there is no ConfigMap %s", api.BMCCAAnnotation, key)}
		}
		pem += "\n" + own
	}
	return a.made(pem, func() *tls.Config {
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		roots.AppendCertsFromPEM([]byte(pem))
		return &tls.Config{RootCAs: roots}
	}), nil
}

func (a *Access) ca(ctx context.Context, key types.NamespacedName) (pem string, found bool, err error) {
	config := &corev1.ConfigMap{}
	if err := a.Client.Get(ctx, key, config); err != nil {
		if apierrors.IsNotFound(err) {
			return "", false, nil
		}
		return "", false, fmt.Errorf("read ConfigMap %s: %w", key, err)
	}
	pem = config.Data[caKey]
	if !strings.Contains(pem, "-----BEGIN CERTIFICATE-----") {
		return "", true, &bmc.Fault{Kind: bmh.Trust, Err: fmt.Errorf("ConfigMap %s has no certificate in PEM in its key %s", key, caKey)}
	}
	return pem, true, nil
}

func (a *Access) made(of string, make func() *tls.Config) *tls.Config {
	key := sha256.Sum256([]byte(of))
	a.mu.Lock()
	defer a.mu.Unlock()
	if trust := a.trusts[key]; trust != nil {
		return trust
	}
	if a.trusts == nil || len(a.trusts) >= trustsLimit {
		a.trusts = map[[sha256.Size]byte]*tls.Config{}
	}
	trust := make()
	a.trusts[key] = trust
	return trust
}

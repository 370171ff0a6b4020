package pki

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ErrDamaged means that an authority or signing key exists but cannot be used. It is not replaced
// silently: every node and client trusts it, so somebody has to decide.
var ErrDamaged = errors.New("damaged")

// Desired returns the secrets that the control plane should have, given those that exist.
// What is still good is returned as it is, metadata included; so writing those that differ from
// existing and calling again with them changes nothing before next.
func Desired(spec Spec, existing map[string]*corev1.Secret, now time.Time) (desired map[string]*corev1.Secret, next time.Time, err error) {
	b := &builder{
		spec: spec, existing: existing, now: now.Truncate(time.Second),
		desired: map[string]*corev1.Secret{}, cas: map[string]*authority{},
	}
	for _, name := range []string{RootCA, EtcdSigner, AggregatorSigner, ControlPlaneSigner, KubeletSigner, ClusterSigner} {
		if err := b.authority(name); err != nil {
			return nil, time.Time{}, fmt.Errorf("secret %s: %w", name, err)
		}
	}
	if err := b.signingKey(); err != nil {
		return nil, time.Time{}, fmt.Errorf("secret %s: %w", SASigningKey, err)
	}
	b.bundle(ClientCA, ControlPlaneSigner, ClusterSigner)
	b.bundle(KubeletClientCA, KubeletSigner)
	for _, l := range leaves(spec) {
		if err := b.leaf(l); err != nil {
			return nil, time.Time{}, fmt.Errorf("secret %s: %w", l.secret, err)
		}
	}
	for _, k := range kubeconfigs(spec) {
		if err := b.kubeconfig(k); err != nil {
			return nil, time.Time{}, fmt.Errorf("secret %s: %w", k.leaf.secret, err)
		}
	}
	return b.desired, b.next, nil
}

// builder collects one answer of Desired.
type builder struct {
	spec     Spec
	existing map[string]*corev1.Secret
	now      time.Time
	desired  map[string]*corev1.Secret
	next     time.Time
	cas      map[string]*authority
}

// set puts data into the answer, in the existing secret's clothes if there is one.
func (b *builder) set(name string, data map[string][]byte) {
	secret := b.existing[name].DeepCopy()
	if secret == nil {
		secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: b.spec.Namespace}, Type: corev1.SecretTypeOpaque}
		if data[KeyCert] != nil && data[KeyPrivate] != nil {
			secret.Type = corev1.SecretTypeTLS
		}
	}
	secret.Data = data
	b.desired[name] = secret
}

func (b *builder) data(name string) map[string][]byte {
	if secret := b.existing[name]; secret != nil {
		return secret.Data
	}
	return nil
}

// wake notes a moment at which Desired has something to do.
func (b *builder) wake(at time.Time) {
	if at.IsZero() {
		return
	}
	if b.next.IsZero() || at.Before(b.next) {
		b.next = at
	}
}

func (b *builder) authority(name string) error {
	subject := b.spec.ClusterName + " " + name
	ca, err := loadAuthority(b.data(name)[KeyCACert], b.data(name)[KeyCAKey])
	switch {
	case errors.Is(err, errAbsent):
		ca, err = newAuthority(subject, b.now)
	case err != nil:
		return err
	case ca.due(b.now):
		ca, err = ca.renewed(b.now)
	}
	if err != nil {
		return err
	}
	if !b.now.Before(ca.cert.NotAfter) {
		return fmt.Errorf("certificate authority expired on %s: %w", ca.cert.NotAfter.UTC().Format(time.DateOnly), ErrDamaged)
	}
	b.cas[name] = ca
	b.wake(ca.renewAt())
	b.set(name, map[string][]byte{KeyCACert: ca.certPEM, KeyCAKey: ca.keyPEM})
	return nil
}

// bundle is the certificates of several authorities, for those who only verify.
func (b *builder) bundle(name string, cas ...string) {
	var out bytes.Buffer
	for _, ca := range cas {
		out.Write(b.cas[ca].certPEM)
	}
	b.set(name, map[string][]byte{KeyCACert: out.Bytes()})
}

func (b *builder) leaf(l leaf) error {
	ca := b.cas[l.ca]
	data := b.data(l.secret)
	pair, err := b.pair(l, data[l.certKey], data[l.keyKey])
	if err != nil {
		return err
	}
	b.set(l.secret, map[string][]byte{l.certKey: pair.certPEM, l.keyKey: pair.keyPEM, KeyCACert: ca.certPEM})
	return nil
}

// pair keeps a leaf's certificate and key if they are still good, else issues new ones.
func (b *builder) pair(l leaf, certPEM, keyPEM []byte) (*keyPair, error) {
	ca := b.cas[l.ca]
	pair, err := loadPair(certPEM, keyPEM)
	if err != nil || !l.matches(pair.cert, ca) || l.due(pair.cert, ca, b.now) {
		if pair, err = l.issue(ca, b.now); err != nil {
			return nil, err
		}
	}
	b.wake(l.renewAt(pair.cert, ca))
	return pair, nil
}

func (b *builder) signingKey() error {
	data := b.data(SASigningKey)
	if len(data[KeySAPrivate]) == 0 && len(data[KeySAPublic]) > 0 {
		return fmt.Errorf("no %s: %w", KeySAPrivate, ErrDamaged)
	}
	private, public, err := signingKeyPair(data[KeySAPrivate])
	if err != nil {
		return err
	}
	b.set(SASigningKey, map[string][]byte{KeySAPrivate: private, KeySAPublic: public})
	return nil
}

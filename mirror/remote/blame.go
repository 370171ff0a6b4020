package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// RegistryError is a fault of a registry as a whole, or of who asks it: its other images fail of the same.
type RegistryError struct {
	Host string
	// Cause is the same for every request, Advice says what to do about it.
	Cause, Advice string
	// Err is how one request ended.
	Err error
}

func (e *RegistryError) Error() string { return e.Err.Error() + "; " + e.Advice }
func (e *RegistryError) Unwrap() error { return e.Err }

// Blame is the sentence that is true for all images of a registry that fail like this one; empty where the fault is the image's own.
func Blame(err error) string {
	var fault *RegistryError
	if !errors.As(err, &fault) {
		return ""
	}
	return fmt.Sprintf("registry %s %s; %s", fault.Host, fault.Cause, fault.Advice)
}

// blame finds out whether a request failed for a reason that all requests to the registry share.
func (c *Client) blame(ctx context.Context, repo Repository, err error) error {
	fault := &RegistryError{Host: repo.Host, Err: err}
	var status *StatusError
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	var dial *net.OpError
	switch {
	case ctx.Err() != nil:
		return err
	case errors.As(err, &status) && (status.Status == http.StatusUnauthorized || status.Status == http.StatusForbidden):
		fault.Cause = strings.TrimSpace(fmt.Sprintf("answers %d %s", status.Status, status.Code))
		fault.Advice = c.login(ctx, repo, status.Status)
	case errors.As(err, &certificate):
		fault.Cause = "shows a certificate that is not trusted: " + certificate.Err.Error()
		fault.Advice = certificateAdvice(certificate.Err)
	case err != nil && strings.Contains(err.Error(), plainAnswer):
		fault.Cause, fault.Advice = "speaks HTTP without TLS", "--src-tls-verify=false takes that from sources, --dest-tls-verify=false from the target"
	case errors.As(err, &dns):
		fault.Cause, fault.Advice = "can't be found: "+dns.Error(), "look at its name, and at this machine's DNS"
	case errors.As(err, &dial) && dial.Op == "dial":
		fault.Cause, fault.Advice = "can't be reached: "+dial.Error(), "look at its address, and at the network and proxy between"
	default:
		return err
	}
	return fault
}

// plainAnswer is what net/http says, without a type of its own, about a server without TLS.
const plainAnswer = "server gave HTTP response to HTTPS client"

func certificateAdvice(err error) string {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return "name the certificate of the authority that signed it with --ca FILE"
	}
	return "the registry needs another certificate, or to be named as its certificate names it"
}

// login says which credentials a registry refused, and where others are expected.
func (c *Client) login(ctx context.Context, repo Repository, status int) string {
	credentials, err := c.keychain.Credentials(ctx, repo)
	if err != nil {
		return err.Error()
	}
	again := "podman login " + repo.Host + ", or docker login, or name an --authfile that has one"
	if credentials.Username == "" && credentials.IdentityToken == "" {
		if credentials.From == "" {
			return "there is no login for it: " + again
		}
		return fmt.Sprintf("there is no login for it in %s: %s", credentials.From, again)
	}
	who := "the login"
	if credentials.Username != "" {
		who += " of " + credentials.Username
	}
	if status == http.StatusForbidden {
		return fmt.Sprintf("%s in %s has no right to do this", who, credentials.From)
	}
	return fmt.Sprintf("%s in %s is not good for this: %s", who, credentials.From, again)
}

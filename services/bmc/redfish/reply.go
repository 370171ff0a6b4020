package redfish

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/stmcginnis/gofish/schemas"

	"github.com/slipway-io/slipway/services/bmc"
)

// reply is one answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r *reply) ok() bool { return r.status/100 == 2 }

// error as Redfish writes it.
func (r *reply) error() *schemas.Error {
	var parsed *schemas.Error
	errors.As(schemas.ConstructError(r.status, r.body), &parsed)
	return parsed
}

// says whether a message's identifier ends so; the registry's version before it varies.
func (r *reply) says(suffixes ...string) bool {
	if r.ok() {
		return false
	}
	refusal := r.error()
	ids := []string{refusal.Code}
	for _, info := range refusal.ExtendedInfos {
		ids = append(ids, info.MessageID)
	}
	for _, id := range ids {
		for _, suffix := range suffixes {
			if id == suffix || strings.HasSuffix(id, "."+suffix) || strings.Contains(id, suffix) && !strings.Contains(suffix, ".") && strings.HasSuffix(id, suffix) {
				return true
			}
		}
	}
	return false
}

// names whether the refusal speaks of a property.
func (r *reply) names(property string) bool {
	refusal := r.error()
	for _, info := range refusal.ExtendedInfos {
		if strings.Contains(info.Message, property) || strings.Contains(strings.Join(info.MessageArgs, " "), property) || strings.Contains(strings.Join(info.RelatedProperties, " "), property) {
			return true
		}
	}
	return strings.Contains(refusal.Message, property)
}

// what the BMC said, in one bounded line.
func (r *reply) what() string {
	refusal := r.error()
	text := refusal.Message
	for _, info := range refusal.ExtendedInfos {
		if info.Message != "" {
			text = info.Message
			break
		}
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	if text == "" {
		text = http.StatusText(r.status)
	}
	return text
}

// causes of refusals by message, before the status is looked at. Sources: bmc.md §2.3–2.9.
var causes = []struct {
	messages []string
	kind     bmc.FaultKind
}{
	{[]string{"SessionLimitExceeded"}, bmc.SessionLimit},
	{[]string{"OemLicenseNotPassed", "LicenseRequired", "LicenseKeyRequired", "NoLicense"}, bmc.License},
	{[]string{"ResourceAtUriUnreachable", "SourceUnreachable", "CouldNotEstablishConnection", "ErrorAccessingImage", "RAC0720"}, bmc.Media},
	{[]string{"SYS518", "InvalidOperationForSystemState", "UnableToModifyDuringSystemPOST", "ServiceTemporarilyUnavailable", "ServiceInUnknownState", "ResourceInUse"}, bmc.Busy},
	{[]string{"InsufficientPrivilege", "AccessDenied"}, bmc.Forbidden},
}

func (r *reply) kind() bmc.FaultKind {
	for _, cause := range causes {
		if r.says(cause.messages...) {
			return cause.kind
		}
	}
	switch {
	case r.status == http.StatusUnauthorized:
		return bmc.Refused
	case r.status == http.StatusForbidden:
		return bmc.Forbidden
	case r.status == http.StatusTooManyRequests || r.status >= 500 && r.status != http.StatusNotImplemented:
		return bmc.Busy
	case r.status/100 == 3:
		return bmc.Protocol
	default:
		return bmc.Unsupported
	}
}

func (r *reply) fault(doing string) error {
	return &bmc.Fault{Kind: r.kind(), Err: fmt.Errorf("%s: the BMC says %d: %s", doing, r.status, r.what())}
}

// classify an error of the connection.
func classify(err error) error {
	var fault *bmc.Fault
	if errors.As(err, &fault) {
		return err
	}
	var (
		unknown  x509.UnknownAuthorityError
		name     x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		alert    tls.AlertError
		noRecord tls.RecordHeaderError
	)
	for _, target := range []any{&unknown, &name, &invalid, &verify, &alert, &noRecord} {
		if errors.As(err, target) {
			return &bmc.Fault{Kind: bmc.TLS, Err: err}
		}
	}
	return &bmc.Fault{Kind: bmc.Unreachable, Err: err}
}

// do sends one request; the error is a fault of the connection, refusals are in the reply.
func (c *Client) do(ctx context.Context, method, path string, body any, ifMatch string) (*reply, error) {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("write request: %w", err)
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.shared.endpoint+path, reader)
	if err != nil {
		return nil, &bmc.Fault{Kind: bmc.Protocol, Err: fmt.Errorf("%s of the BMC is no path", path)}
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if ifMatch != "" {
		req.Header.Set("If-Match", ifMatch)
	}
	response, err := c.shared.http.Do(req)
	if err != nil {
		return nil, classify(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, classify(err)
	}
	return &reply{status: response.StatusCode, header: response.Header, body: text}, nil
}

// get reads a resource into out and gives its entity tag, empty where there is none.
func (c *Client) get(ctx context.Context, path string, out any) (etag string, err error) {
	if path == "" {
		return "", &bmc.Fault{Kind: bmc.Unsupported, Err: errors.New("the BMC has no such resource")}
	}
	answer, err := c.patiently(ctx, http.MethodGet, path, nil, "")
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	if !answer.ok() {
		return "", answer.fault("read " + path)
	}
	if err := json.Unmarshal(answer.body, out); err != nil {
		return "", &bmc.Fault{Kind: bmc.Protocol, Err: fmt.Errorf("read %s: %w", path, err)}
	}
	etag = answer.header.Get("ETag")
	if etag == "" {
		var tagged struct {
			ETag string `json:"@odata.etag"`
		}
		_ = json.Unmarshal(answer.body, &tagged) // whether it parses is known from above
		etag = tagged.ETag
	}
	return etag, nil
}

package redfish

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/slipway-io/slipway/services/bmc"
)

// rung is one way of asking. Ladders are tables of them, the way that most understand first; each says for whose sake it
// is there (bmc.md names the sources). S is what is known about the machine and what is wanted.
type rung[S any] struct {
	name   string
	source string
	// offers whether to try it at all; nil is always.
	offers func(S) bool
	method string
	path   func(S) string
	body   func(S) map[string]any
	// ifMatch: a change of a resource with the entity tag that it had. Actions go without (iDRAC10 answers 412, gofish #510).
	ifMatch bool
}

// patience has the refusals that pass: the same rung is tried again.
var patience = []struct {
	status   int
	messages []string
	method   string
	tries    int
	pause    time.Duration
	source   string
}{
	{http.StatusConflict, []string{"ActionParameterValueConflict"}, http.MethodPost, 6, 10 * time.Second, "iDRAC10 refuses On for up to 60 s after Off: ironic power.py"},
	{0, []string{"UnableToModifyDuringSystemPOST", "InvalidOperationForSystemState"}, "", 6, 5 * time.Second, "iLO during POST: ironic, sushy"},
	{0, []string{"SYS518"}, "", 6, 5 * time.Second, "iDRAC is not ready after changes: sushy connector.py"},
	{http.StatusInternalServerError, nil, http.MethodPost, 3, 3 * time.Second, "Dell's eject goes on while insert is refused: ironic boot.py, story 2008504"},
	{http.StatusServiceUnavailable, nil, http.MethodGet, 3, time.Second, "busy, as any web server; reading is cheap"},
	{http.StatusServiceUnavailable, nil, "", 3, 3 * time.Second, "busy, as any web server"},
	{http.StatusTooManyRequests, nil, "", 3, 3 * time.Second, "busy, as any web server"},
}

// goesOn are the statuses after which the next rung may be understood; 5xx once patience is over and only where the rung
// itself may be the cause.
func goesOn(answer *reply) bool {
	switch answer.status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusPreconditionFailed,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusNotImplemented, http.StatusInternalServerError:
		kind := answer.kind()
		return kind == bmc.Unsupported || kind == bmc.Busy && answer.status == http.StatusInternalServerError
	}
	return false
}

// climb asks rung by rung until one is accepted and, where there is a check, found to have worked.
func climb[S any](ctx context.Context, c *Client, doing string, ladder []rung[S], s func() S, check func(context.Context, *reply) (bool, error)) (string, error) {
	var last error
	unconfirmed := ""
	for _, r := range ladder {
		now := s()
		if r.offers != nil && !r.offers(now) {
			continue
		}
		answer, err := c.ask(ctx, r.method, r.path(now), r.body(now), r.ifMatch)
		if err != nil {
			return "", withRung(err, doing, r.name)
		}
		if observer, ok := any(now).(interface{ refused(*reply) }); ok && !answer.ok() {
			observer.refused(answer)
		}
		if answer.ok() {
			worked := true
			if check != nil {
				if worked, err = check(ctx, answer); err != nil {
					return "", withRung(err, doing, r.name)
				}
			}
			if worked {
				c.shared.log.Debug("BMC understood", "operation", doing, "rung", r.name)
				return r.name, nil
			}
			unconfirmed = r.name
			last = &bmc.Fault{Kind: bmc.Unsupported, Err: fmt.Errorf("%s: accepted by the BMC, and without effect", doing)}
			continue
		}
		last = answer.fault(doing)
		if !goesOn(answer) {
			return "", withRung(last, doing, r.name)
		}
	}
	if last == nil {
		last = &bmc.Fault{Kind: bmc.Unsupported, Err: fmt.Errorf("%s: the BMC offers no way that is known", doing)}
	}
	return "", withRung(last, doing, unconfirmed)
}

// ask once, and again as patience has it. An entity tag goes as it came, then as a strong one, then not at all.
func (c *Client) ask(ctx context.Context, method, path string, body any, ifMatch bool) (*reply, error) {
	tags := []string{""}
	if ifMatch {
		var any map[string]any
		etag, err := c.get(ctx, path, &any)
		if err != nil && bmc.Kind(err) != bmc.Unsupported {
			return nil, err
		}
		tags = matches(etag)
	}
	var answer *reply
	for i := 0; i < len(tags); i++ {
		var err error
		if answer, err = c.patiently(ctx, method, path, body, tags[i]); err != nil {
			return nil, err
		}
		if answer.status != http.StatusPreconditionFailed {
			break
		}
	}
	return answer, nil
}

// matches are the forms of an entity tag to try (sushy connector; the suffix is Apache's).
func matches(etag string) []string {
	etag = strings.TrimSpace(etag)
	if strings.Trim(strings.TrimPrefix(etag, "W/"), `"`) == "" {
		return []string{""}
	}
	forms := []string{etag}
	strong := strings.Replace(strings.TrimPrefix(etag, "W/"), `-gzip"`, `"`, 1)
	if strong != etag {
		forms = append(forms, strong)
	}
	return append(forms, "")
}

func (c *Client) patiently(ctx context.Context, method, path string, body any, etag string) (*reply, error) {
	for try := 1; ; try++ {
		answer, err := c.do(ctx, method, path, body, etag)
		if err != nil {
			return nil, err
		}
		again := time.Duration(0)
		for _, row := range patience {
			applies := !answer.ok() && (row.status == 0 || row.status == answer.status) && (row.method == "" || row.method == method) &&
				(row.messages == nil || answer.says(row.messages...)) && try < row.tries
			if applies {
				again = row.pause
				break
			}
		}
		if again == 0 || answer.kind() == bmc.Media {
			return answer, nil
		}
		if err := c.shared.wait(ctx, again); err != nil {
			return nil, err
		}
	}
}

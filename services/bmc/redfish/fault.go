package redfish

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/stmcginnis/gofish/schemas"

	"github.com/slipway-io/slipway/services/bmc"
)

// withRung says which rung a fault came on.
func withRung(err error, doing, rung string) error {
	var fault *bmc.Fault
	if !errors.As(err, &fault) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return &bmc.Fault{Kind: fault.Kind, Rung: rung, Err: err}
}

// asFault makes what gofish returns a fault.
func asFault(doing string, err error) error {
	var fault *bmc.Fault
	if errors.As(err, &fault) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	var refusal *schemas.Error
	if errors.As(err, &refusal) && refusal.HTTPReturnedStatusCode != 0 {
		body, marshalError := json.Marshal(map[string]any{"error": refusal})
		if marshalError != nil {
			body = nil
		}
		return (&reply{status: refusal.HTTPReturnedStatusCode, header: http.Header{}, body: body}).fault(doing)
	}
	return &bmc.Fault{Kind: bmc.Protocol, Err: fmt.Errorf("%s: %w", doing, err)}
}

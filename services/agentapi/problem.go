package agentapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/slipway-io/slipway/services/agentapi/wire"
	"github.com/slipway-io/slipway/services/host"
)

func problem(w http.ResponseWriter, r *http.Request, status int, reason string) {
	answer(w, status, wire.Problem{Kind: "Error", ID: status, Href: r.URL.Path, Code: strconv.Itoa(status), Reason: reason})
}

// answer writes the document; a host that has gone meanwhile asks again.
func answer(w http.ResponseWriter, status int, document any) {
	data, err := json.Marshal(document)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

func notServed(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, wire.BasePath)
	// Families of the assisted service's API that exist but are not served here.
	for _, family := range []string{
		"/v2/clusters", "/v2/infra-envs", "/v2/infra-env", "/v2/events", "/v2/openshift-versions", "/v2/component-versions",
		"/v2/release-sources", "/v2/domains", "/v2/supported-operators", "/v2/operators", "/v2/support-levels",
	} {
		if path == family || strings.HasPrefix(path, family+"/") {
			problem(w, r, http.StatusNotImplemented, fmt.Sprintf("%s %s is not served: Slipway is driven through the Kubernetes API "+
				"(InfraEnv, Agent), and serves of this API what hosts need", r.Method, path))
			return
		}
	}
	problem(w, r, http.StatusNotFound, fmt.Sprintf("there is no %s", path))
}

// failed answers an error that came out of an update: a refusal as such, all else as ours.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, c *call, doing string, err error) {
	var refusal *host.Refusal
	switch {
	case errors.As(err, &refusal):
		s.refuse(w, r, c, refusal.Code, refusal.Reason)
	case apierrors.IsNotFound(err):
		problem(w, r, http.StatusNotFound, fmt.Sprintf("host %s is not known; register it", c.hostID))
	case r.Context().Err() != nil:
	default:
		s.Log.Error(doing, "host", c.hostID, "err", err)
		problem(w, r, http.StatusServiceUnavailable, doing+": the management API does not answer; try again")
	}
}

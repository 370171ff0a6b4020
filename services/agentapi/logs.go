package agentapi

import (
	"io"
	"net/http"

	"github.com/slipway-io/slipway/services/agentapi/wire"
)

// logsBody bounds an upload of logs.
const logsBody = 256 << 20

func (s *Server) logsProgress(w http.ResponseWriter, r *http.Request) {
	c := s.enter(w, r, false)
	if c == nil {
		return
	}
	var request wire.LogsProgress
	if !decode(w, r, smallBody, &request) {
		return
	}
	s.Log.Debug("host logs", "host", c.hostID, "state", clip(request.State))
	w.WriteHeader(http.StatusNoContent)
}

// logs takes an upload so that an upstream agent goes on, and keeps none of it.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	c := s.enterAs(w, r, query.Get("infra_env_id"), query.Get("host_id"), false)
	if c == nil {
		return
	}
	size, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, logsBody))
	if err != nil {
		problem(w, r, http.StatusRequestEntityTooLarge, "the logs are too large or ended early")
		return
	}
	s.Log.Info("host logs discarded", "host", c.hostID, "bytes", size)
	w.WriteHeader(http.StatusNoContent)
}

package web

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// problem is an error in the form of the assisted service, which every client of its API parses.
type problem struct {
	Kind   string `json:"kind"`
	ID     int    `json:"id"`
	Href   string `json:"href"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// Problem answers with an error that people and the agents' clients can read.
func Problem(w http.ResponseWriter, status int, reason string) {
	body, err := json.Marshal(problem{"Error", status, "", strconv.Itoa(status), reason})
	if err != nil {
		http.Error(w, reason, status)
		return
	}
	h := w.Header()
	h.Del("Content-Length")
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client that is gone needs no error
}

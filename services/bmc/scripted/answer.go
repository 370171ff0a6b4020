package scripted

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// maxBody of a request.
const maxBody = 1 << 20

func (b *BMC) answer(r *http.Request) response {
	path := clean(r.URL.Path)
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return refuse(http.StatusBadRequest, "MalformedJSON", "The request was cut.")
	}
	in := &request{raw: raw, http: r}
	if len(raw) > 0 && json.Unmarshal(raw, &in.body) != nil {
		return refuse(http.StatusBadRequest, "MalformedJSON", "The request is no JSON.")
	}
	if path == "/redfish/v1" {
		return ok(b.root())
	}
	if path == sessionsPath && r.Method == http.MethodPost && b.profile.Sessions {
		return b.login(in)
	}
	if refused := b.authorize(r); refused != nil {
		return *refused
	}
	if strings.HasPrefix(path, sessionsPath+"/") && r.Method == http.MethodDelete {
		return b.logout(strings.TrimPrefix(path, sessionsPath+"/"))
	}
	if b.profile.refusals.identityRegistry && strings.HasPrefix(path, "/redfish/v1/registrystore/") && r.Header.Get("Accept-Encoding") == "identity" {
		return refuse(http.StatusNotAcceptable, "GeneralError", "Only gzip.")
	}
	route, found := b.routes[path]
	if !found {
		if id, isTask := strings.CutPrefix(path, "/redfish/v1/TaskService/Tasks/"); isTask && r.Method == http.MethodGet {
			return b.task(strings.TrimSuffix(id, "/Monitor"))
		}
		return refuse(http.StatusNotFound, "ResourceMissingAtURI", "There is no "+path+".", path)
	}
	handle := route[r.Method]
	if handle == nil {
		methods := []string{}
		for method := range route {
			methods = append(methods, method)
		}
		slices.Sort(methods)
		answer := refuse(http.StatusMethodNotAllowed, "OperationNotAllowed", "Not with this method.")
		answer.header = map[string]string{"Allow": strings.Join(methods, ", ")}
		return answer
	}
	if refused := b.precondition(r, path); refused != nil {
		return *refused
	}
	answer := handle(r.Context(), in)
	if tag := b.etag(); r.Method == http.MethodGet && tag != "" {
		answer.header = map[string]string{"ETag": tag}
	}
	return answer
}

func (b *BMC) etag() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.profile.ETag {
	case Strong:
		return fmt.Sprintf(`"%d"`, b.state.version)
	case Weak, DemandStrong:
		return fmt.Sprintf(`W/"%d"`, b.state.version)
	default:
		return ""
	}
}

// precondition is If-Match as the vendor has it.
func (b *BMC) precondition(r *http.Request, path string) *response {
	given := r.Header.Get("If-Match")
	failed := refuse(http.StatusPreconditionFailed, "PreconditionFailed", "The ETag does not match.")
	switch {
	case r.Method == http.MethodGet || given == "" && r.Method == http.MethodPost:
		return nil
	case given != "" && strings.Contains(path, "/Actions/") && b.profile.refusals.ifMatchOnAction:
		return &failed
	case b.profile.ETag == DemandStrong && given != "" && given != strings.TrimPrefix(b.etag(), "W/"):
		return &failed
	case (b.profile.ETag == Strong || b.profile.ETag == Weak) && given != "" && given != b.etag():
		return &failed
	}
	return nil
}

const sessionsPath = "/redfish/v1/SessionService/Sessions"

func (b *BMC) login(in *request) response {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.Logins++
	user, _ := in.body["UserName"].(string)
	password, _ := in.body["Password"].(string)
	if !b.right(user, password) {
		return refuse(http.StatusUnauthorized, "ResourceAtUriUnauthorized", "Unauthorized.")
	}
	if b.faults.SessionTableFull || len(b.sessions) >= b.profile.SessionLimit {
		return refuse(http.StatusServiceUnavailable, "SessionLimitExceeded", "The session limit is reached.")
	}
	b.serial++
	id, token := fmt.Sprint(b.serial), fmt.Sprintf("token-%x-%d", b.random.Uint64(), b.serial)
	b.sessions[id] = token
	b.counts.Sessions = max(b.counts.Sessions, len(b.sessions))
	return response{status: http.StatusCreated, body: link(sessionsPath + "/" + id), header: map[string]string{"X-Auth-Token": token, "Location": sessionsPath + "/" + id}}
}

// right counts what is wrong, under the mutex.
func (b *BMC) right(user, password string) bool {
	if user == b.options.Username && subtle.ConstantTimeCompare([]byte(password), []byte(b.password)) == 1 {
		return true
	}
	b.counts.WrongLogins++
	b.wrong[user+"\x00"+password]++
	return false
}

func (b *BMC) authorize(r *http.Request) *response {
	b.mu.Lock()
	defer b.mu.Unlock()
	if token := r.Header.Get("X-Auth-Token"); token != "" {
		for _, known := range b.sessions {
			if known == token {
				return nil
			}
		}
	} else if user, password, given := r.BasicAuth(); given && b.right(user, password) {
		return nil
	}
	b.counts.Unauthorized++
	refused := refuse(http.StatusUnauthorized, "NoValidSession", "There is no valid session.")
	return &refused
}

func (b *BMC) logout(id string) response {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sessions, id)
	return done()
}

func (b *BMC) task(id string) response {
	b.mu.Lock()
	defer b.mu.Unlock()
	known, found := b.state.tasks[id]
	if !found {
		return refuse(http.StatusNotFound, "ResourceMissingAtURI", "There is no such task.")
	}
	if known.state == "Running" && !b.faults.StuckTask {
		known.state = "Completed"
		if known.message != "" {
			known.state = "Exception"
		}
		b.state.tasks[id] = known
		return ok(taskBody(task{state: "Running", id: id}))
	}
	return ok(taskBody(known))
}

func taskBody(t task) map[string]any {
	body := map[string]any{
		"@odata.id": "/redfish/v1/TaskService/Tasks/" + t.id, "@odata.type": "#Task.v1_5_0.Task", "Id": t.id, "TaskState": t.state, "TaskStatus": "OK",
	}
	if t.message != "" && t.state == "Exception" {
		body["Messages"] = []map[string]any{{"MessageId": t.message, "Message": "The URL of the image cannot be read."}}
	}
	return body
}

// accepted is a 202 whose task ends at its second look; under the mutex.
func (b *BMC) accepted(message string) response {
	b.serial++
	id := fmt.Sprintf("JID_%d", b.serial)
	t := task{state: "Running", id: id, message: message}
	b.state.tasks[id] = t
	return response{status: http.StatusAccepted, body: taskBody(t), header: map[string]string{"Location": "/redfish/v1/TaskService/Tasks/" + id + "/Monitor", "Retry-After": "1"}}
}

package redfish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/stmcginnis/gofish/schemas"

	"github.com/slipway-io/slipway/services/bmc"
)

// taskTimeout is for what is awaited here, media and power; longer jobs end with a restart of the machine.
const taskTimeout = 2 * time.Minute

// finish awaits the task of a 202; every other answer is finished.
func (c *Client) finish(ctx context.Context, answer *reply) error {
	if answer.status != http.StatusAccepted {
		return nil
	}
	path := taskPath(answer)
	if path == "" {
		return nil
	}
	for waited, step := time.Duration(0), time.Second; waited < taskTimeout; waited, step = waited+step, min(step*2, 10*time.Second) {
		if err := c.shared.wait(ctx, step); err != nil {
			return err
		}
		task, err := c.do(ctx, http.MethodGet, path, nil, "")
		if err != nil {
			return fmt.Errorf("read task: %w", err)
		}
		done, err := taskDone(task)
		if done || err != nil {
			return err
		}
	}
	return &bmc.Fault{Kind: bmc.Stuck, Err: fmt.Errorf("task %s of the BMC does not come to its end in %s", path, taskTimeout)}
}

// taskPath prefers the Task to its monitor: Lenovo's monitor deletes the task when it is read after the end, OpenBMC's is
// the task's address with /Monitor behind (bmc.md §2.7).
func taskPath(answer *reply) string {
	var task struct {
		ID   string `json:"@odata.id"`
		Type string `json:"@odata.type"`
	}
	if json.Unmarshal(answer.body, &task) == nil && strings.HasPrefix(task.Type, "#Task.") && task.ID != "" {
		return task.ID
	}
	return strings.TrimSuffix(localPath(answer.header.Get("Location")), "/Monitor")
}

func taskDone(answer *reply) (bool, error) {
	switch {
	case answer.status == http.StatusAccepted || answer.kind() == bmc.Busy && !answer.ok():
		return false, nil
	case answer.status == http.StatusNotFound || answer.status == http.StatusGone:
		// Read once too often, or the BMC restarted: the caller looks at the result.
		return true, nil
	case !answer.ok():
		return false, answer.fault("read task")
	}
	var task schemas.Task
	if len(answer.body) == 0 || json.Unmarshal(answer.body, &task) != nil {
		return true, nil
	}
	switch task.TaskState {
	case schemas.ExceptionTaskState, schemas.KilledTaskState, schemas.CancelledTaskState:
		return false, taskFault(task)
	case schemas.CompletedTaskState:
		if task.TaskStatus == schemas.CriticalHealth {
			return false, taskFault(task)
		}
		return true, nil
	default:
		return task.TaskState == "", nil
	}
}

// taskFault takes the cause out of the task's messages, as it is taken out of refusals.
func taskFault(task schemas.Task) error {
	infos := make([]map[string]string, len(task.Messages))
	for i, message := range task.Messages {
		infos[i] = map[string]string{"MessageId": message.MessageID, "Message": message.Message}
	}
	body, err := json.Marshal(map[string]any{"error": map[string]any{"@Message.ExtendedInfo": infos}})
	if err != nil {
		return fmt.Errorf("read task: %w", err)
	}
	fault := (&reply{status: http.StatusBadRequest, header: http.Header{}, body: body})
	return &bmc.Fault{Kind: fault.kind(), Err: errors.New("the BMC's task ended with " + string(task.TaskState) + ": " + fault.what())}
}

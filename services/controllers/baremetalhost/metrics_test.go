package baremetalhost

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// TestMetrics as they are read, with no label that grows with the number of hosts.
func TestMetrics(t *testing.T) {
	metrics, registry := NewMetrics(), prometheus.NewRegistry()
	if err := metrics.Register(registry); err != nil {
		t.Fatal(err)
	}
	metrics.states = func() map[string]int { return map[string]int{"available": 2, "provisioned": 1} }
	metrics.ages = func() []time.Duration { return []time.Duration{20 * time.Second, 65 * time.Second, time.Hour} }
	metrics.failed("inspection error", "Refused")
	metrics.took("inspect", 300*time.Millisecond)
	metrics.power("PowerOn")
	metrics.power("PowerOn")
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		`slipway_baremetalhosts{state="available"} 2`,
		`slipway_baremetalhosts{state="provisioned"} 1`,
		`slipway_baremetalhost_answer_age_seconds_bucket{le="70"} 2`,
		`slipway_baremetalhost_answer_age_seconds_bucket{le="1800"} 2`,
		`slipway_baremetalhost_answer_age_seconds_count 3`,
		`slipway_baremetalhost_answer_oldest_seconds 3600`,
		`slipway_baremetalhost_failures_total{cause="Refused",error_type="inspection error"} 1`,
		`slipway_baremetalhost_step_seconds_bucket{step="inspect",le="0.4"} 1`,
		`slipway_baremetalhost_step_seconds_bucket{step="inspect",le="0.2"} 0`,
		`slipway_baremetalhost_power_changes_total{change="PowerOn"} 2`,
	} {
		if !strings.Contains(answer.Body.String(), line+"\n") {
			t.Errorf("no %s in\n%s", line, answer.Body)
		}
	}
	if text := answer.Body.String(); strings.Contains(text, "host=") || strings.Contains(text, "name=") {
		t.Errorf("a label for each host:\n%s", text)
	}
	if err := NewMetrics().Register(registry); err == nil {
		t.Error("registered twice")
	}
}

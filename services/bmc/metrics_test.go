package bmc

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// TestMetrics as they are read.
func TestMetrics(t *testing.T) {
	metrics, registry := NewMetrics(func() int { return 7 }), prometheus.NewRegistry()
	if err := metrics.Register(registry); err != nil {
		t.Fatal(err)
	}
	metrics.Asked("GET", "2xx", 30*time.Millisecond)
	metrics.Asked("GET", "2xx", 50*time.Millisecond)
	metrics.Asked("GET", string(Unreachable), 3*time.Second)
	metrics.Asked("PATCH", "4xx", time.Second)
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		`slipway_bmc_requests_total{method="GET",result="2xx"} 2`,
		`slipway_bmc_requests_total{method="GET",result="Unreachable"} 1`,
		`slipway_bmc_requests_total{method="PATCH",result="4xx"} 1`,
		`slipway_bmc_request_seconds_count{method="GET"} 3`,
		`slipway_bmc_request_seconds_bucket{method="GET",le="0.04"} 1`,
		`slipway_bmc_sessions 7`,
	} {
		if !strings.Contains(answer.Body.String(), line+"\n") {
			t.Errorf("no %s in\n%s", line, answer.Body)
		}
	}
	if err := NewMetrics(func() int { return 0 }).Register(registry); err == nil {
		t.Error("registered twice")
	}
}

package bmc

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the requests to BMCs and of the sessions with them. No label has a BMC's address: there are thousands.
type Metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	sessions prometheus.GaugeFunc
}

// NewMetrics that nobody collects yet; sessions tells how many are open.
func NewMetrics(sessions func() int) *Metrics {
	return &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_bmc_requests_total", Help: "Requests to BMCs by method and result: the class of the status, or why there was no answer.",
		}, []string{"method", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_bmc_request_seconds", Help: "Time of requests to BMCs until the answer was read, answered or not.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 13),
		}, []string{"method"}),
		sessions: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "slipway_bmc_sessions", Help: "BMCs that are logged in: one session each, or the account with each request where a BMC has none.",
		}, func() float64 { return float64(sessions()) }),
	}
}

// Register with a registry.
func (m *Metrics) Register(registerer prometheus.Registerer) error {
	for _, one := range []prometheus.Collector{m.requests, m.seconds, m.sessions} {
		if err := registerer.Register(one); err != nil {
			return fmt.Errorf("register metrics of BMCs: %w", err)
		}
	}
	return nil
}

// Asked counts one request, for Config.Asked.
func (m *Metrics) Asked(method, result string, took time.Duration) {
	m.requests.WithLabelValues(method, result).Inc()
	m.seconds.WithLabelValues(method).Observe(took.Seconds())
}

package baremetalhost

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of hosts. No label has a host's name: there are thousands.
type Metrics struct {
	states     func() map[string]int
	hosts      *prometheus.Desc
	failures   *prometheus.CounterVec
	operations *prometheus.HistogramVec
	powers     *prometheus.CounterVec
}

// NewMetrics that nobody collects yet.
func NewMetrics() *Metrics {
	return &Metrics{
		hosts:    prometheus.NewDesc("slipway_baremetalhosts", "BareMetalHosts by state.", []string{"state"}, nil),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipway_baremetalhost_failures_total", Help: "Failed steps with BMCs by error type and cause."}, []string{"error_type", "cause"}),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_baremetalhost_step_seconds", Help: "Time of steps with BMCs that succeeded.", Buckets: prometheus.ExponentialBuckets(0.05, 2, 13),
		}, []string{"step"}),
		powers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipway_baremetalhost_power_changes_total", Help: "Changes of power that were seen."}, []string{"change"}),
	}
}

// Register with a registry.
func (m *Metrics) Register(registerer prometheus.Registerer) error {
	for _, one := range []prometheus.Collector{m, m.failures, m.operations, m.powers} {
		if err := registerer.Register(one); err != nil {
			return fmt.Errorf("register metrics of BareMetalHosts: %w", err)
		}
	}
	return nil
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) { out <- m.hosts }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	if m.states == nil {
		return
	}
	for state, count := range m.states() {
		out <- prometheus.MustNewConstMetric(m.hosts, prometheus.GaugeValue, float64(count), state)
	}
}

func (m *Metrics) failed(errorType, cause string) {
	m.failures.WithLabelValues(errorType, cause).Inc()
}
func (m *Metrics) took(step string, d time.Duration) {
	m.operations.WithLabelValues(step).Observe(d.Seconds())
}
func (m *Metrics) power(change string) { m.powers.WithLabelValues(change).Inc() }

package baremetalhost

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of hosts. No label has a host's name: there are thousands.
type Metrics struct {
	states     func() map[string]int
	ages       func() []time.Duration
	hosts      *prometheus.Desc
	age        *prometheus.Desc
	oldest     *prometheus.Desc
	failures   *prometheus.CounterVec
	operations *prometheus.HistogramVec
	powers     *prometheus.CounterVec
}

// NewMetrics that nobody collects yet.
func NewMetrics() *Metrics {
	return &Metrics{
		hosts:    prometheus.NewDesc("slipway_baremetalhosts", "BareMetalHosts by state.", []string{"state"}, nil),
		age:      prometheus.NewDesc("slipway_baremetalhost_answer_age_seconds", "BareMetalHosts by the time since their BMC last did as asked, the power poll among it; since the start where it never did. Without those that are paused, detached or have no BMC.", nil, nil),
		oldest:   prometheus.NewDesc("slipway_baremetalhost_answer_oldest_seconds", "The longest of these times.", nil, nil),
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
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.hosts
	out <- m.age
	out <- m.oldest
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	if m.states == nil || m.ages == nil {
		return
	}
	for state, count := range m.states() {
		out <- prometheus.MustNewConstMetric(m.hosts, prometheus.GaugeValue, float64(count), state)
	}
	ages := m.ages()
	buckets, sum, oldest := map[float64]uint64{}, 0.0, 0.0
	for _, bound := range ageBuckets() {
		buckets[bound] = 0
	}
	for _, age := range ages {
		seconds := age.Seconds()
		sum, oldest = sum+seconds, max(oldest, seconds)
		for bound := range buckets {
			if seconds <= bound {
				buckets[bound]++
			}
		}
	}
	out <- prometheus.MustNewConstHistogram(m.age, uint64(len(ages)), sum, buckets)
	out <- prometheus.MustNewConstMetric(m.oldest, prometheus.GaugeValue, oldest)
}

// ageBuckets in seconds: a poll is due each minute, and a BMC that is asked in vain is asked each minute at least.
func ageBuckets() []float64 { return []float64{30, 70, 150, 300, 600, 1800, 3600} }

func (m *Metrics) failed(errorType, cause string) {
	m.failures.WithLabelValues(errorType, cause).Inc()
}
func (m *Metrics) took(step string, d time.Duration) {
	m.operations.WithLabelValues(step).Observe(d.Seconds())
}
func (m *Metrics) power(change string) { m.powers.WithLabelValues(change).Inc() }

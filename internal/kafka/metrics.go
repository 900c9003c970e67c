package kafka

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kprom"
)

// Metrics are franz-go's own of all the clients of one role, as one. The first
// client that is made with them, a producer, has to outlive the others: what is
// buffered is that client's.
type Metrics struct {
	all   *kprom.Metrics
	first sync.Once
	main  *kgo.Client
}

// NewMetrics prepares the metrics of a role's clients. They are registered with
// the role's first client.
func NewMetrics(role string, registerer prometheus.Registerer) *Metrics {
	return &Metrics{all: kprom.NewMetrics("agentmeter",
		kprom.Subsystem("kafka"),
		kprom.Registerer(withoutFetched{registerer}),
		kprom.WithStaticLabel(prometheus.Labels{"role": role}),
		kprom.FetchAndProduceDetail(kprom.ByTopic, kprom.Batches, kprom.Records, kprom.CompressedBytes, kprom.UncompressedBytes, kprom.ConsistentNaming),
		kprom.HistogramsFromOpts(
			kprom.HistogramOpts{Enable: kprom.RequestDurationE2E, Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}},
			kprom.HistogramOpts{Enable: kprom.RequestThrottled, Buckets: []float64{.01, .1, 1, 10}},
		),
	)}
}

// withoutFetched leaves out what the first client has fetched, which is nothing.
type withoutFetched struct{ prometheus.Registerer }

// MustRegister implements prometheus.Registerer.
func (r withoutFetched) MustRegister(collectors ...prometheus.Collector) {
	for _, c := range collectors {
		descs := make(chan *prometheus.Desc, 1) // each of kprom's has one
		c.Describe(descs)
		if !strings.Contains((<-descs).String(), "_buffered_fetch_") {
			r.Registerer.MustRegister(c)
		}
	}
}

// hooks are kprom's but for those that register, and unregister, with each client.
type hooks struct {
	kgo.HookBrokerConnect
	kgo.HookBrokerDisconnect
	kgo.HookBrokerE2E
	kgo.HookBrokerThrottle
	kgo.HookProduceBatchWritten
	kgo.HookFetchBatchRead

	m *Metrics
}

var (
	_ kgo.HookNewClient    = (*hooks)(nil)
	_ kgo.HookClientClosed = (*hooks)(nil)
)

// OnNewClient implements kgo.HookNewClient.
func (h *hooks) OnNewClient(client *kgo.Client) {
	h.m.first.Do(func() {
		h.m.main = client
		h.m.all.OnNewClient(client)
	})
}

// OnClientClosed implements kgo.HookClientClosed.
func (h *hooks) OnClientClosed(client *kgo.Client) {
	if client == h.m.main {
		h.m.all.OnClientClosed(client)
	}
}

func (m *Metrics) option() kgo.Opt {
	return kgo.WithHooks(&hooks{m.all, m.all, m.all, m.all, m.all, m.all, m})
}

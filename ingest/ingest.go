package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/fair"
	"agentmeter/internal/httpapi"
	"agentmeter/schemas/api/ingestapi"
)

// Ingest is the write side.
type Ingest struct {
	config   Config
	producer *producer
	admin    *kadm.Client
	log      *slog.Logger
	metrics  *metrics
	budget   *fair.Gate      // bytes of memory
	turns    *fair.Gate      // bytes of bodies that are decoded and sent at once
	limits   *httpapi.Limits // nil: there are none
	readers  readers
	clock    directoryClock
}

// New makes the write side. The client must be an idempotent producer that
// waits for all in-sync replicas and partitions by Kafka's default hash of the
// key, as internal/kafka makes it; whoever made it closes it, after the last
// request has been answered.
func New(config Config, client *kgo.Client, log *slog.Logger, reg prometheus.Registerer) (*Ingest, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if client.OptValue(kgo.RequiredAcks) != kgo.AllISRAcks() || client.OptValue(kgo.DisableIdempotentWrite) == true {
		return nil, errors.New("ingest: the producer must be idempotent and wait for all in-sync replicas")
	}
	m := newMetrics(reg)
	acked := newAcknowledged(config.EventsTopic)
	reg.MustRegister(acked)
	config = config.withDefaults()
	return &Ingest{
		config:   config,
		producer: &producer{client: client, timeout: config.AckTimeout, metrics: m, acked: acked},
		admin:    kadm.NewClient(client),
		log:      log,
		metrics:  m,
		limits:   newRateLimits(config),
		budget:   fair.New(fair.Config{Capacity: config.MaxInFlightBytes, Used: gauge(m.inFlightBytes)}),
		turns: fair.New(fair.Config{
			Capacity: config.MaxTurnBytes, MaxWaiting: maxWaiting, MaxWait: maxWait, Waiting: gauge(m.waiting),
		}),
	}, nil
}

// Mount adds the routes of the write side. The mux is guarded: handlers run
// only for requests that may pass, with their auth.Access in the context.
func (in *Ingest) Mount(mux httpapi.Mux) {
	if in.limits != nil {
		mux = limitedMux{mux, in.limits, in.metrics}
	}
	ingestapi.HandlerWithOptions(routes{in}, ingestapi.StdHTTPServerOptions{
		BaseRouter: mux,
		ErrorHandlerFunc: func(w http.ResponseWriter, r *http.Request, err error) {
			httpapi.WriteError(w, r, &httpapi.Problem{
				Status: http.StatusBadRequest, Code: "parameter_invalid",
				Detail: "A parameter of the path cannot be read.", Cause: err,
			})
		},
	})
}

// Ready reports whether events can be accepted: Kafka answers and has the
// topics.
func (in *Ingest) Ready(ctx context.Context) error {
	topics, err := in.admin.ListTopics(ctx, in.config.EventsTopic, in.config.DirectoryTopic)
	if err != nil {
		return fmt.Errorf("ask kafka for the topics: %w", err)
	}
	var faults []error
	for _, name := range [...]string{in.config.EventsTopic, in.config.DirectoryTopic} {
		switch topic, found := topics[name]; {
		case !found:
			faults = append(faults, fmt.Errorf("topic %s: kafka says nothing of it", name))
		case topic.Err != nil:
			faults = append(faults, fmt.Errorf("topic %s: %w", name, topic.Err))
		case len(topic.Partitions) == 0:
			faults = append(faults, fmt.Errorf("topic %s: it has no partitions", name))
		}
	}
	return errors.Join(faults...)
}

// routes implements the generated interface without widening Ingest's own.
type routes struct{ *Ingest }

var _ ingestapi.ServerInterface = routes{}

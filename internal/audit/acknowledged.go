package audit

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	tables "agentmeter/schemas/clickhouse"
)

// Acknowledged is what an ingest process says that Kafka acknowledged to it.
//
// It closes the account: the offsets that a process was given rise (it counts
// those that do not), so each accepted event has an offset of its own; they lie
// below the log's end, or Kafka has lost what it acknowledged; and the ledger
// has each offset below its own end once. So accepted = the outcomes of those
// offsets + what is still in Kafka.
type Acknowledged struct {
	Source string // where it said so
	// Ends are the offsets after the last ones acknowledged, by partition.
	Ends map[int32]int64
	// Repeated counts acknowledged offsets that did not lie above all before.
	Repeated int64
}

// The metrics that ingest exports for the audit.
const (
	metricAcknowledged = "agentmeter_ingest_acknowledged_offset"
	metricRepeated     = "agentmeter_ingest_acknowledged_again_total"
)

// maxMetrics bounds what is read of an ingest process's metrics.
const maxMetrics = 16 << 20

// ReadAcknowledged asks an ingest process, by the URL of its metrics.
func ReadAcknowledged(ctx context.Context, client *http.Client, url, token string) (Acknowledged, error) {
	said := Acknowledged{Source: url, Ends: map[int32]int64{}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return said, fmt.Errorf("audit: metrics: %w", err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return said, fmt.Errorf("audit: metrics: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return said, fmt.Errorf("audit: metrics of %s: answered %s", url, response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(response.Body, maxMetrics))
	if err != nil {
		return said, fmt.Errorf("audit: metrics of %s: %w", url, err)
	}
	if families[metricRepeated] == nil {
		return said, fmt.Errorf("audit: metrics of %s: %s is not among them; is it an ingest process?", url, metricRepeated)
	}
	for _, metric := range families[metricRepeated].GetMetric() {
		said.Repeated += valueOf(metric)
	}
	for _, metric := range families[metricAcknowledged].GetMetric() {
		for _, label := range metric.GetLabel() {
			if label.GetName() != "partition" {
				continue
			}
			partition, err := strconv.ParseInt(label.GetValue(), 10, 32)
			if err != nil {
				return said, fmt.Errorf("audit: metrics of %s: partition %q: %w", url, label.GetValue(), err)
			}
			said.Ends[int32(partition)] = valueOf(metric)
		}
	}
	return said, nil
}

// valueOf reads a metric whose type may have been lost on the way.
func valueOf(metric *dto.Metric) int64 {
	return int64(metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + metric.GetUntyped().GetValue())
}

// acknowledged is the highest end that any of them names of a partition, or -1.
func acknowledged(all []Acknowledged, partition int32) int64 {
	highest := int64(-1)
	for _, said := range all {
		if end, ok := said.Ends[partition]; ok {
			highest = max(highest, end)
		}
	}
	return highest
}

// acknowledged compares what one process was acknowledged with the log's end.
func (a *auditor) acknowledged(p *Partition, said Acknowledged) {
	end, ok := said.Ends[p.Partition]
	if !ok {
		return
	}
	p.Acknowledged = max(p.Acknowledged, end)
	if end > p.LogEnd {
		a.find(*p, CheckLog, tables.Ledger, "Kafka's log ends at offset %d, and Kafka had acknowledged up to %d to %s: it has lost %d records that clients were told are safe",
			p.LogEnd-1, end-1, said.Source, end-p.LogEnd)
	}
}

// repeated says which processes were given offsets twice.
func (a *auditor) repeated(live Partition) {
	for _, said := range a.options.Acknowledged {
		if said.Repeated > 0 {
			a.find(live, CheckLog, tables.Ledger, "Kafka gave %s %d offsets that it had acknowledged before: its log was cut, and records that clients were told are safe are gone", said.Source, said.Repeated)
		}
	}
}

package crash

import (
	"context"
	"fmt"
	"strings"
	"time"

	"agentmeter/internal/pause"
)

// counters of a rollup that say what became of faults.
var counters = []string{
	"agentmeter_rollup_doubts_total", "agentmeter_rollup_reconciles_total", "agentmeter_rollup_stale_total",
	"agentmeter_rollup_session_errors_total", "agentmeter_rollup_dead_letters_total", "agentmeter_rollup_reconciled_rows_total",
	"agentmeter_rollup_block_rows_count", "agentmeter_rollup_take_over_duration_seconds_count",
}

// scrape reads the rollups' counters again and again until ctx ends: what a
// life had counted is lost with it.
func (r *run) scrape(ctx context.Context) {
	for pause.For(ctx, 400*time.Millisecond) {
		r.scrapeOnce(ctx)
	}
}

func (r *run) scrapeOnce(ctx context.Context) {
	for _, p := range r.stack.rollups {
		l := p.current()
		if l == nil || l.over() {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
		var content []byte
		err := r.stack.get(asking, "http://"+r.stack.addresses[p.name]+"/metrics", &content)
		cancel()
		if err != nil {
			continue // starting, stopped, or dying
		}
		values := make(map[string]float64)
		for line := range strings.Lines(string(content)) {
			for _, name := range counters {
				series, figure, ok := strings.Cut(line, " ")
				if of, _, _ := strings.Cut(series, "{"); !ok || of != name {
					continue
				}
				var value float64
				if _, err := fmt.Sscan(figure, &value); err == nil {
					values[name] += value
				}
			}
		}
		r.report.mu.Lock()
		r.report.lives[fmt.Sprintf("%s-%d", p.name, l.number)] = values
		r.report.mu.Unlock()
	}
}

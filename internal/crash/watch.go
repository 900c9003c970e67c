package crash

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"agentmeter/internal/pause"
)

// usage is what a process took up at a time.
type usage struct {
	at          time.Time
	resident    int64
	descriptors int
}

// watch follows what processes take up.
type watch struct {
	mu   sync.Mutex // guards what follows
	seen map[string][]usage
}

// run looks once a second until ctx ends, where the system tells.
func (w *watch) run(ctx context.Context, processes []*process) {
	for pause.For(ctx, time.Second) {
		for _, p := range processes {
			l := p.current()
			if l == nil || l.over() {
				continue
			}
			bytes, err := resident(l.cmd.Process.Pid)
			if err != nil {
				return
			}
			files, err := descriptors(l.cmd.Process.Pid)
			if err != nil {
				return
			}
			w.add(p.name, usage{time.Now(), bytes, files})
		}
	}
}

func (w *watch) add(name string, u usage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = make(map[string][]usage)
	}
	w.seen[name] = append(w.seen[name], u)
}

func (w *watch) names() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.seen))
}

// most is the most that a process took up between two times.
func (w *watch) most(name string, from, to time.Time) (bytes int64, files int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range w.seen[name] {
		if !u.at.Before(from) && u.at.Before(to) {
			bytes, files = max(bytes, u.resident), max(files, u.descriptors)
		}
	}
	return bytes, files
}

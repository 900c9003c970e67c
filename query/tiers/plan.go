package tiers

import (
	"slices"
	"time"

	"agentmeter/schemas"
)

// Ledger is the step of reads that no rollup can answer: they go to the events
// themselves and are exact at any instant.
const Ledger schemas.Step = 0

// Read is what one tier contributes: the cells of its Step that begin in
// [From, To), without those of Skip, and only those within the cells of
// InsideStep that Inside lists, unless Inside is nil. With Step Ledger the
// events that occurred in [From, To) take the place of cells.
//
// The lists are sorted and never hold more cells than the question has edges.
type Read struct {
	Step       schemas.Step
	From, To   time.Time
	Skip       []time.Time
	InsideStep schemas.Step
	Inside     []time.Time
}

// Plan returns the reads that together cover the bars between the edges, the
// coarsest tier first. The tiers that there are, by their steps, are listed the
// coarsest first, too; one that would save next to nothing is left out. Minutes
// before minutesFrom are not in the minute tier any more and are read from the
// ledger; the zero time means that all are there.
//
// The edges are sorted and at least two; fewer have no bar and need no read.
func Plan(edges []time.Time, minutesFrom time.Time, steps []schemas.Step) []Read {
	if len(edges) < 2 {
		return nil
	}
	p := plan{start: edges[0], end: edges[len(edges)-1]}
	// Every level gets the cells that an edge cuts at the level above, to read
	// them finer; a nil list stands for all of the range.
	var (
		cut     []time.Time
		cutStep schemas.Step
	)
	for i, step := range steps {
		if step != schemas.StepMinute && cutStep != 0 && p.skips(edges, minutesFrom, cut, cutStep, steps[i:]) {
			continue
		}
		if step == schemas.StepMinute && !minutesFrom.IsZero() {
			// An edge of the coarser cells, so that none has to be split.
			horizon := schemas.StepQuarter.Ceil(minutesFrom)
			if cutStep > schemas.StepQuarter {
				horizon = cutStep.Ceil(minutesFrom)
			}
			old, _ := slices.BinarySearchFunc(cut, horizon, time.Time.Compare)
			if cutStep == 0 || old > 0 {
				p.read(Read{Step: Ledger, From: p.start, To: earlier(p.end, horizon), InsideStep: cutStep, Inside: cut[:old]})
			}
			if cut = cut[old:]; !horizon.Before(p.end) || (cutStep != 0 && len(cut) == 0) {
				return p.reads
			}
			p.start = later(p.start, horizon)
		}
		finer := cutCells(edges, step, p.start)
		p.read(Read{
			Step: step,
			From: step.Ceil(p.start), To: step.Floor(p.end),
			Skip: finer, InsideStep: cutStep, Inside: cut,
		})
		if len(finer) == 0 {
			return p.reads
		}
		cut, cutStep = finer, step
	}
	p.read(Read{Step: Ledger, From: p.start, To: p.end, InsideStep: cutStep, Inside: cut})
	return p.reads
}

type plan struct {
	start, end time.Time
	reads      []Read
}

// fewCells is how many cells of a finer tier are read rather than as much of a
// coarser one and the rest of the finer: a tier costs more to ask than that.
const fewCells = 240

// skips reports whether the first of the steps is better left out: an edge cuts
// its cells too, so that the next one is read anyway, and all that is to be
// read is few of the next one's cells.
func (p *plan) skips(edges []time.Time, minutesFrom time.Time, cut []time.Time, cutStep schemas.Step, steps []schemas.Step) bool {
	if len(steps) < 2 || len(cutCells(edges, steps[0], p.start)) == 0 {
		return false
	}
	next := steps[1]
	if next == schemas.StepMinute && cut[0].Before(minutesFrom) {
		return false // it would be the ledger, which is asked for as little as possible
	}
	return int64(len(cut))*int64(cutStep/next) <= fewCells
}

// read adds a read, said as simply as it can be: its range narrowed to what is
// really read, lists left out that have no say. One without cells is dropped.
func (p *plan) read(r Read) {
	if len(r.Inside) > 0 {
		first, last := r.Inside[0], r.Inside[len(r.Inside)-1]
		r.From = later(r.From, first)
		r.To = earlier(r.To, last.Add(time.Duration(r.InsideStep)))
		if contiguous(r.Inside, r.InsideStep) {
			r.InsideStep, r.Inside = 0, nil
		}
	} else {
		r.InsideStep, r.Inside = 0, nil
	}
	for len(r.Skip) > 0 && !r.Skip[0].After(r.From) {
		if r.Skip[0].Equal(r.From) {
			r.From = r.From.Add(time.Duration(r.Step))
		}
		r.Skip = r.Skip[1:]
	}
	for len(r.Skip) > 0 && !r.Skip[len(r.Skip)-1].Add(time.Duration(r.Step)).Before(r.To) {
		if last := r.Skip[len(r.Skip)-1]; last.Before(r.To) {
			r.To = last
		}
		r.Skip = r.Skip[:len(r.Skip)-1]
	}
	if len(r.Skip) == 0 {
		r.Skip = nil
	}
	if r.From.Before(r.To) && !r.empty() {
		p.reads = append(p.reads, r)
	}
}

// empty reports whether all cells of the read are skipped.
func (r Read) empty() bool {
	if r.Step == Ledger {
		return false
	}
	step := time.Duration(r.Step)
	if r.Inside == nil {
		return int64(r.To.Sub(r.From)/step) <= int64(len(r.Skip))
	}
	skip := r.Skip
	for _, outer := range r.Inside {
		for cell := outer; cell.Before(outer.Add(time.Duration(r.InsideStep))); cell = cell.Add(step) {
			if cell.Before(r.From) || !cell.Before(r.To) {
				continue
			}
			for len(skip) > 0 && skip[0].Before(cell) {
				skip = skip[1:]
			}
			if len(skip) == 0 || !skip[0].Equal(cell) {
				return false
			}
		}
	}
	return true
}

// cutCells returns the cells of the step that some edge lies strictly within,
// from the one that start lies in on.
func cutCells(edges []time.Time, step schemas.Step, start time.Time) []time.Time {
	var cells []time.Time
	first := step.Floor(start)
	for _, edge := range edges {
		cell := step.Floor(edge)
		if cell.Equal(edge) || cell.Before(first) || (len(cells) > 0 && cells[len(cells)-1].Equal(cell)) {
			continue
		}
		cells = append(cells, cell)
	}
	return cells
}

func contiguous(cells []time.Time, step schemas.Step) bool {
	return cells[len(cells)-1].Sub(cells[0]) == time.Duration(step)*time.Duration(len(cells)-1)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

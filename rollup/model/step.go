package model

// step emits every state that follows s directly.
func (c *checker) step(s state) {
	c.group(s)
	c.serverKill(s)
	c.rebuild(s)
	c.replace(s)
	c.catchUp(s)
	for i := range s.requests {
		if s.requests[i].kind != noRequest {
			c.request(s, i)
		}
	}
	for i := range s.consumers {
		c.consumer(s, i)
	}
}

// group is the broker: it gives the partition to a consumer, takes it away
// from one that has not noticed, and consumers are killed.
func (c *checker) group(s state) {
	unowned := s.owner < 0 || s.consumers[s.owner].phase == idle
	for i := range s.consumers {
		take := s
		take.owner = int8(i)
		take.consumers[i] = consumer{phase: readEnd}
		switch {
		case unowned:
			abandon(&take, int8(i))
			c.emit(take, "the partition is given to %s", names[i])
		case int(s.owner) != i && s.budget[rebalance] > 0 && s.consumers[s.owner].phase != done:
			take.budget[rebalance]--
			abandon(&take, int8(i))
			c.emit(take, "the partition is taken from %s, which has not noticed, and given to %s", names[1-i], names[i])
		}
	}
	if !unowned && s.budget[consumerKill] > 0 && s.consumers[s.owner].phase != done {
		t := s
		t.budget[consumerKill]--
		t.consumers[s.owner] = consumer{}
		abandon(&t, s.owner)
		c.emit(t, "%s is killed", names[s.owner])
	}
	if s.owner >= 0 {
		if other := 1 - s.owner; s.consumers[other].phase != idle {
			t := s
			t.consumers[other] = consumer{}
			abandon(&t, other)
			c.emit(t, "%s notices that it is not the owner", names[other])
		}
	}
}

// abandon: nobody waits for a consumer's requests any more; they live on.
func abandon(s *state, from int8) {
	for i := range s.requests {
		if s.requests[i].from == from {
			s.requests[i].waits = false
		}
	}
}

func (c *checker) serverKill(s state) {
	if s.budget[serverKill] == 0 {
		return
	}
	t := s
	t.budget[serverKill]--
	for i := range t.requests {
		r := t.requests[i]
		if r.kind != noRequest && !r.old && r.stage >= running {
			t.requests[i] = request{}
			c.failed(&t, &r)
		}
	}
	c.emit(t, "the server is killed and started again")
}

// rebuild: at any time somebody else may ask the server to make a view equal to
// the ledger, and not wait for the answer.
func (c *checker) rebuild(s state) {
	if s.budget[rebuild] == 0 {
		return
	}
	for view := range int8(views) {
		t := s
		t.budget[rebuild]--
		r := request{kind: reconcileView, hi: int8(c.bounds.Records), view: view, from: thirdParty}
		if send(&t, r) {
			c.emit(t, "%s is asked for", &r)
		}
	}
}

// replace: the server is replaced by its replica, and the consumers begin again
// there. What is committed to either is committed to both, in the end.
func (c *checker) replace(s state) {
	if s.budget[replacement] == 0 {
		return
	}
	t := s
	t.budget[replacement]--
	for i := range t.consumers {
		t.consumers[i] = consumer{}
		abandon(&t, int8(i))
	}
	for i := range t.requests {
		switch {
		case t.requests[i].kind == noRequest:
		case c.protocol.OldServerRuns:
			t.requests[i].old = true
		default: // it ended with its server
			t.requests[i] = request{}
		}
	}
	c.emit(t, "the server is replaced by its replica")
	if !c.protocol.StaleReplica {
		return
	}
	for what := 1; what < 1<<(views+1); what++ {
		u := t
		if c.lack(&u, what) {
			c.emit(u, "the server is replaced by a replica that lacks the last block, in tables %b", what)
		}
	}
}

// lack takes the last block from some of the tables, bit 0 for the ledger, until
// the replica catches up.
func (c *checker) lack(s *state, what int) bool {
	last := -1
	for i := range s.parts {
		if s.parts[i].hi > 0 && (last < 0 || s.parts[i].hi > s.parts[last].hi) {
			last = i
		}
	}
	if last < 0 {
		return false
	}
	p := s.parts[last]
	for view := range s.view {
		for o := p.lo; o < p.hi; o++ {
			b := c.bucket(o)
			if what&(2<<view) != 0 && p.counts&(1<<(o-p.lo)) != 0 && s.view[view][b] > 0 {
				s.view[view][b]--
				s.lateView[view][b]++
			}
		}
	}
	if what&1 != 0 {
		s.late = p
		copy(s.parts[last:], s.parts[last+1:])
		s.parts[maxParts-1] = part{}
	}
	return true
}

func (s *state) catchingUp() bool {
	return s.late.hi > 0 || s.lateView != [views][maxRecords]int8{}
}

// catchUp: the replica gets what it lacks.
func (c *checker) catchUp(s state) {
	if !s.catchingUp() {
		return
	}
	for view := range s.view {
		for b := range s.view[view] {
			s.view[view][b] += s.lateView[view][b]
		}
	}
	late := s.late
	s.late, s.lateView = part{}, [views][maxRecords]int8{}
	if late.hi == 0 || c.addPart(&s, late) {
		c.emit(s, "the replica catches up")
	}
}

// request moves one request on.
func (c *checker) request(s state, i int) {
	r := s.requests[i]
	if r.waits && s.budget[timeout] > 0 {
		t := s
		t.budget[timeout]--
		t.requests[i].waits = false
		c.failed(&t, &r)
		c.emit(t, "%s times out for the consumer and lives on", &r)
	}
	if r.stage == inNetwork {
		c.arrive(s, i)
		return
	}
	t := s
	if r.kind == reconcileView {
		for b := range r.diff {
			t.view[r.view][b] += r.diff[b]
		}
		t.requests[i] = request{}
		c.answered(&t, &r)
		c.emit(t, "%s commits %v", &r, r.diff)
		return
	}
	if s.budget[failure] > 0 {
		f := s
		f.budget[failure]--
		f.requests[i] = request{}
		c.failed(&f, &r)
		c.emit(f, "%s fails in the middle", &r)
	}
	c.insert(t, i)
}

// arrive: the request reaches the server, or is lost on its way once nobody
// waits for it.
func (c *checker) arrive(s state, i int) {
	r := s.requests[i]
	if !r.waits {
		t := s
		t.requests[i] = request{}
		c.emit(t, "%s is lost in the network", &r)
	}
	if !c.protocol.NoMutex && c.busy(&s, r.old) {
		return // it is told to wait, and asks again
	}
	t := s
	if r.kind == insertBlock && !c.protocol.StoredOffset {
		if position, _, _ := c.end(&s); position != r.lo {
			t.requests[i] = request{}
			c.failed(&t, &r)
			c.emit(t, "%s is refused: the ledger ends at %d", &r, position)
			return
		}
	}
	t.requests[i].stage = running
	if r.kind == reconcileView && !c.protocol.ClientReconcile {
		t.requests[i].diff = c.difference(&s, r.view, r.lo, r.hi)
	}
	c.emit(t, "%s starts", &r)
}

// busy: a statement of the partition is running in the server, or in the one
// that was replaced.
func (c *checker) busy(s *state, old bool) bool {
	for i := range s.requests {
		if s.requests[i].old == old && s.requests[i].kind != noRequest && s.requests[i].stage >= running {
			return true
		}
	}
	return false
}

// insert runs one stage of a block insert: for the ledger and each view, first
// the token is logged where tokens are used, then the rows are committed.
func (c *checker) insert(t state, i int) {
	r := &t.requests[i]
	block := *r
	var words string
	switch r.stage {
	case running, ledgerCommitted, firstViewCommitted:
		table := tableAfter(r.stage)
		if c.protocol.Tokens {
			if t.logged[table]&token(r) != 0 {
				r.stage = skipped(r.stage)
				words = "is known by its token in a table and skipped there"
				break
			}
			t.logged[table] |= token(r)
		}
		r.stage = logged(r.stage)
		words = "goes on to the next table"
	case ledgerLogged:
		p := part{r.lo, r.hi, r.counts}
		if c.protocol.TwoParts && r.hi-r.lo == 2 {
			p = part{r.lo, r.lo + 1, r.counts & 1}
			r.stage = ledgerFirstPart
		} else {
			r.stage = ledgerCommitted
		}
		if !c.addPart(&t, p) {
			return
		}
		words = "commits to the ledger"
	case ledgerFirstPart:
		if !c.addPart(&t, part{r.lo + 1, r.hi, r.counts >> 1}) {
			return
		}
		r.stage = ledgerCommitted
		words = "commits its second part to the ledger"
	case firstViewLogged:
		c.addView(&t, 0, &block)
		r.stage = firstViewCommitted
		words = "commits to view 1"
	case secondViewLogged:
		c.addView(&t, 1, &block)
		t.requests[i] = request{}
		c.answered(&t, &block)
		words = "commits to view 2 and is answered"
	}
	if r.stage == ended {
		t.requests[i] = request{}
		c.answered(&t, &block)
	}
	c.emit(t, "%s %s", &block, words)
}

const ended = secondViewLogged + 1

// tableAfter is the table that an insert turns to at a stage: 0 is the ledger,
// 1 and 2 are the views.
func tableAfter(stage int8) int {
	switch stage {
	case running:
		return 0
	case ledgerCommitted:
		return 1
	default:
		return 2
	}
}

// logged and skipped are the stages after a table's token was logged, and
// after the table was skipped.
func logged(stage int8) int8 {
	switch stage {
	case running:
		return ledgerLogged
	case ledgerCommitted:
		return firstViewLogged
	default:
		return secondViewLogged
	}
}

func skipped(stage int8) int8 {
	switch stage {
	case running:
		return ledgerCommitted
	case ledgerCommitted:
		return firstViewCommitted
	default:
		return ended
	}
}

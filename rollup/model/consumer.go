package model

// consumer lets one consumer take its next step: package rollup's
// eventPartition, with its method names.
func (c *checker) consumer(s state, i int) {
	t := s
	p := &t.consumers[i]
	name := names[i]
	switch p.phase {
	case readEnd: // takeOver
		if c.waitsForMutex(&s) {
			return
		}
		position, lo, hi := c.end(&s)
		if c.protocol.StoredOffset {
			position, lo, hi = s.stored, 0, 0
		}
		p.position, p.lo, p.hi, p.takeOver = position, lo, hi, true
		c.reconcile(p, hi > lo)
		c.emit(t, "%s reads that the ledger ends at %d", name, position)
	case readKnown:
		p.known = 0
		rows, _ := c.ledger(&s)
		for o := range int8(c.bounds.Records) {
			if rows[o] > 0 {
				p.known |= 1 << o
			}
		}
		c.goOn(p, p.position)
		c.emit(t, "%s knows the ids that are in the ledger", name)
	case counting:
		c.count(s, i)
	case doubt: // appendBlock, after anything but success
		if c.waitsForMutex(&s) {
			return
		}
		c.decide(&t, i)
		c.emit(t, "%s doubts and looks at the ledger", name)
	case readDiff: // ClientReconcile alone
		p.diff = c.difference(&s, p.view, p.lo, p.hi)
		p.phase = sendReconcile
		c.emit(t, "%s reads what view %d lacks: %v", name, p.view+1, p.diff)
	case sendReconcile:
		r := request{kind: reconcileView, lo: p.lo, hi: p.hi, view: p.view, diff: p.diff, from: int8(i), waits: true}
		if send(&t, r) {
			p.phase = waitReconcile
			c.emit(t, "%s sends a reconcile of view %d for [%d,%d)", name, p.view+1, p.lo, p.hi)
		}
	case storeOffset: // StoredOffset alone
		t.stored = p.hi
		c.confirm(p)
		c.emit(t, "%s stores offset %d", name, t.stored)
	case idle, waitInsert, waitReconcile, done, halted:
	}
}

// waitsForMutex: reading the ledger's end takes the partition's mutex too.
func (c *checker) waitsForMutex(s *state) bool { return !c.protocol.NoMutex && c.busy(s, false) }

// count sends the next block, of one record or two.
func (c *checker) count(s state, i int) {
	for size := int8(1); size <= 2; size++ {
		t := s
		p := &t.consumers[i]
		p.lo, p.hi = p.position, p.position+size
		if int(p.hi) > c.bounds.Records {
			return
		}
		p.counts = 0
		for o := p.lo; o < p.hi; o++ {
			firstKnown := p.known&1 != 0 || p.lo == 0
			if int(o) != c.bounds.Resent || !firstKnown {
				p.counts |= 1 << (o - p.lo)
			}
		}
		if c.insertAgain(&t, i) {
			c.emit(t, "%s sends block [%d,%d)", names[i], p.lo, p.hi)
		}
	}
}

func (c *checker) insertAgain(t *state, i int) bool {
	p := &t.consumers[i]
	if !send(t, request{kind: insertBlock, lo: p.lo, hi: p.hi, counts: p.counts, from: int8(i), waits: true}) {
		return false
	}
	p.phase = waitInsert
	return true
}

func send(s *state, r request) bool {
	for i := range s.requests {
		if s.requests[i].kind == noRequest {
			s.requests[i] = r
			return true
		}
	}
	return false
}

// decide is what a consumer does after it has looked at the ledger's end.
func (c *checker) decide(t *state, i int) {
	p := &t.consumers[i]
	position, lo, hi := c.end(t)
	if c.protocol.StoredOffset {
		c.insertAgain(t, i) // it knows no better than to send it again
		return
	}
	switch {
	case lo == p.lo && hi == p.hi:
		p.takeOver = false
		c.reconcile(p, true)
	case position == p.lo:
		p.again = true
		c.insertAgain(t, i)
	case position > p.lo && position < p.hi && c.partial(t, p):
		p.phase = halted
	default: // stale: start over from the ledger's end
		*p = consumer{phase: readEnd}
	}
}

// partial: the ledger ends inside the block in hand.
func (c *checker) partial(s *state, p *consumer) bool {
	for _, stored := range s.parts {
		if stored.hi > 0 && stored.lo == p.lo && stored.hi < p.hi && stored.counts == p.counts&1 {
			return c.protocol.TwoParts
		}
	}
	return false
}

// reconcile begins to repair the views of block [lo, hi), if there is one.
func (c *checker) reconcile(p *consumer, needed bool) {
	if !needed || c.protocol.NoReconcile {
		c.reconciled(p)
		return
	}
	p.view = 0
	c.reconcileView(p)
}

func (c *checker) reconcileView(p *consumer) {
	p.diff = [maxRecords]int8{}
	p.phase = sendReconcile
	if c.protocol.ClientReconcile {
		p.phase = readDiff
	}
}

func (c *checker) reconciled(p *consumer) {
	p.view, p.diff = 0, [maxRecords]int8{}
	if p.takeOver {
		p.lo, p.hi, p.takeOver = 0, 0, false
		p.phase = readKnown
		return
	}
	c.confirm(p)
}

// confirm: the block in hand is in the ledger and in every view.
func (c *checker) confirm(p *consumer) {
	for o := p.lo; o < p.hi; o++ {
		p.known |= 1 << o
	}
	c.goOn(p, p.hi)
}

func (c *checker) goOn(p *consumer, position int8) {
	*p = consumer{phase: counting, position: position, known: p.known}
	if int(position) >= c.bounds.Records {
		p.phase = done
	}
}

// answered: the consumer that waits for the request learns that it ended well.
func (c *checker) answered(s *state, r *request) {
	if !r.waits {
		return
	}
	p := &s.consumers[r.from]
	switch p.phase {
	case waitInsert:
		if c.protocol.StoredOffset {
			p.phase = storeOffset
			return
		}
		if p.again { // see appendBlock: an earlier try may have left something in a view
			c.reconcile(p, true)
			return
		}
		c.confirm(p)
	case waitReconcile:
		if p.view++; p.view < views {
			c.reconcileView(p)
			return
		}
		c.reconciled(p)
	default:
	}
}

// failed: the consumer learns that something went wrong, and not what.
func (c *checker) failed(s *state, r *request) {
	if !r.waits {
		return
	}
	p := &s.consumers[r.from]
	switch p.phase {
	case waitInsert:
		if c.protocol.Regardless && int(p.hi) < c.bounds.Records {
			c.confirm(p)
			return
		}
		p.phase = doubt
	case waitReconcile:
		c.reconcileView(p) // it is run again; twice changes nothing
	default:
	}
}

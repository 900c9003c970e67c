package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/fault"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
)

// The named cases: one for each fault that one machine can bring about. What
// each is for stands in docs/faults.md. All but a few share one stack, and
// every one ends with the whole comparison.

func TestAnswerDroppedAfterTheInsert(t *testing.T) {
	l := sharedLab(t)
	for range 3 {
		done := l.proxies[0].order(faultDropAnswer, 0)
		l.send(50)
		l.until("the answer to be dropped", done)
	}
	l.settled()
}

func TestAnswerDelayedBeyondTheTimeout(t *testing.T) {
	l := sharedLab(t)
	done := l.proxies[0].order(faultDelayAnswer, 0)
	l.send(50)
	l.until("the answer to come too late", done)
	l.settled()
}

func TestTimeoutWhileTheInsertRuns(t *testing.T) {
	l := sharedLab(t)
	life := l.restart(l.engine, at(fault.EngineRunning, fault.ActionWait, 3, 2*l.limit))
	l.must(l.waitEngine(t.Context()))
	for life.strikes() == 0 {
		l.send(20)
		l.pause(50 * time.Millisecond)
	}
	l.settled()
}

func TestConnectionBrokenWhileTheInsertRuns(t *testing.T) {
	l := sharedLab(t)
	for _, after := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 15 * time.Millisecond} {
		done := l.proxies[0].order(faultHangUp, after)
		l.send(400)
		l.until("the connection to break", done)
	}
	l.settled()
}

func TestRequestCutInTheMiddle(t *testing.T) {
	l := sharedLab(t)
	for range 3 {
		done := l.proxies[0].order(faultCutRequest, 0)
		l.send(400)
		l.until("the request to be cut", done)
	}
	l.settled()
}

// A request that nobody waits for any more reaches the engine that was started
// after it was sent, when its block is long counted.
func TestRequestArrivesAfterRestart(t *testing.T) {
	l := sharedLab(t)
	done := l.proxies[0].order(faultHold, time.Hour)
	l.send(50)
	l.until("the request to be held back", done)
	l.rollups[0].kill()
	l.restart(l.engine)
	l.must(l.waitEngine(t.Context()))
	l.restart(l.rollups[0])
	l.counted()
	l.send(50)
	l.counted()
	l.proxies[0].letGo()
	l.settled()

	// And when its block is not counted yet: it is what the next owner would
	// have sent.
	done = l.proxies[0].order(faultHold, time.Hour)
	l.send(50)
	l.until("the request to be held back", done)
	l.rollups[0].kill()
	l.restart(l.engine)
	l.must(l.waitEngine(t.Context()))
	l.proxies[0].letGo()
	l.restart(l.rollups[0])
	l.settled()
}

func TestRollupKilledAtEachStep(t *testing.T) {
	l := sharedLab(t)
	for _, point := range pointsOf("rollup") {
		switch point {
		case fault.DoubtBefore, fault.DoubtEndRead:
			l.proxies[0].order(faultDropAnswer, 0)
		}
		life := l.restart(l.rollups[0], at(point, fault.ActionKill, 1, 0))
		l.send(20)
		if point == fault.LettersSent {
			l.poison(1)
		}
		l.struck(life)
		<-life.ended
		l.restart(l.rollups[0])
		l.counted()
	}
	l.settled()
}

func TestEngineKilledAtEachStep(t *testing.T) {
	l := sharedLab(t)
	for _, point := range pointsOf("engine") {
		for _, delay := range []time.Duration{0, 6 * time.Millisecond} {
			life := l.restart(l.engine, at(point, fault.ActionKill, 1, delay))
			l.engineOrItsEnd(life)
			l.send(200)
			l.struck(life)
		}
	}
	l.restart(l.engine)
	l.settled()
}

func TestBrokerKilledAtEachStep(t *testing.T) {
	l := sharedLab(t)
	for _, point := range pointsOf("broker") {
		life := l.restart(l.broker, at(point, fault.ActionKill, 2, 0))
		l.must(l.waitBroker(t.Context()))
		sent := make(chan struct{})
		go func() { // it sends again until it is acknowledged
			defer close(sent)
			for range 3 {
				entries := []*entry{l.book.add(l.producer.gen.event(), false)}
				l.producer.deliver(l.t.Context(), l.client, entries)
			}
		}()
		l.struck(life)
		<-life.ended
		l.restart(l.broker)
		l.until("all to be acknowledged", sent)
	}
	l.settled()
}

func TestIngestKilledAtEachStep(t *testing.T) {
	l := sharedLab(t)
	p := newHTTPProducer(l.book, sending{batch: 20, honest: true}, l.random, "http://"+l.addresses["ingest"], l.token)
	for _, point := range pointsOf("ingest") {
		life := l.restart(l.ingest, at(point, fault.ActionKill, 1, 0))
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			p.deliver(t.Context(), "/v1/events", p.batchOf())
		}()
		l.struck(life)
		<-life.ended
		l.restart(l.ingest)
		l.until("all to be acknowledged", sent)
	}
	l.settled()
}

// A consumer stands still in each step until another one has taken over and
// counted on, and then goes on with what it believes.
func TestStoppedInEachStepWhileAnotherTakesOver(t *testing.T) {
	l := sharedLab(t)
	for i, point := range pointsOf("rollup") {
		switch point {
		case fault.DoubtBefore, fault.DoubtEndRead:
			l.proxies[0].order(faultDropAnswer, 0)
		}
		life := l.restart(l.rollups[0], at(point, fault.ActionStop, 1, 0))
		l.send(20)
		if point == fault.LettersSent {
			l.poison(1)
		}
		l.struck(life)
		if i%2 == 0 { // it will soon be told that the partition is not its own any more
			l.restart(l.rollups[1])
			l.mustEvict(true)
		} else { // nobody tells it
			l.rollups[1].next = []string{"AGENTMETER_ROLLUP_GROUP=another"}
			l.restart(l.rollups[1])
		}
		l.send(20)
		l.counted()
		l.rollups[0].signal(syscall.SIGCONT)
		l.send(20)
		l.counted()
		l.grouped(2 - i%2) // where nobody is told, the other is in a group of its own
		l.rollups[1].kill()
	}
	l.restart(l.rollups[0])
	l.settled()
}

// The same with the session's own end.
func TestStoppedForLongerThanTheSession(t *testing.T) {
	l := sharedLab(t)
	life := l.restart(l.rollups[0], at(fault.AppendBefore, fault.ActionStop, 1, 0))
	l.send(20)
	l.struck(life)
	l.restart(l.rollups[1])
	l.counted() // only the other one can
	l.rollups[0].signal(syscall.SIGCONT)
	l.send(20)
	l.settled()
}

func TestPartitionGivenAwayDuringAnInsert(t *testing.T) {
	l := sharedLab(t)
	for range 2 {
		came := l.proxies[0].order(onlyWatch, 0)
		l.send(400)
		l.until("an insert", came)
		term, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		err := l.rollups[0].term(term)
		cancel()
		l.must(err)
		l.restart(l.rollups[1]) // joins
		l.restart(l.rollups[0]) // and again: a cooperative hand-over
		l.send(100)
		l.counted()
		l.grouped(2)
		l.rollups[1].kill()
	}
	l.settled()
}

func TestTwoOwnersWhoBothBelieve(t *testing.T) {
	l := sharedLab(t)
	other, err := l.addRollup(len(l.rollups), "--rollup-group", "another")
	l.must(err)
	defer func() {
		other.kill()
		l.rollups = l.rollups[:len(l.rollups)-1]
	}()
	l.restart(other)
	l.must(poll(t.Context(), "one of them to find that the other has counted", patience, func(ctx context.Context) error {
		l.send(50)
		if err := l.wantCounter(ctx, l.rollups[0], "agentmeter_rollup_stale_total"); err == nil {
			return nil
		}
		return l.wantCounter(ctx, other, "agentmeter_rollup_stale_total")
	}))
	l.settled()
}

func TestCommittedOffsetsDeletedOrRewound(t *testing.T) {
	l := sharedLab(t)
	l.send(200)
	l.counted()
	l.pause(6 * time.Second) // until offsets are committed
	l.rollups[0].kill()
	l.mustEvict(true)
	rewound := make(kadm.Offsets)
	rewound.AddOffset(kafka.TopicEvents, 0, 0, -1)
	l.must(l.admin.CommitAllOffsets(t.Context(), group, rewound))
	l.restart(l.rollups[0])
	l.send(50)
	l.settled()

	l.rollups[0].kill()
	l.mustEvict(true)
	set := make(kadm.TopicsSet)
	set.Add(kafka.TopicEvents, 0)
	_, err := l.admin.DeleteOffsets(t.Context(), group, set)
	l.must(err)
	l.restart(l.rollups[0])
	l.send(50)
	l.settled()
}

func TestResentIDsCountOnce(t *testing.T) {
	l := sharedLab(t)
	first := l.send(600) // more than are kept in memory
	l.sendAgain(first[599], first[598])
	l.sendAgain(first[0]) // from before the window
	l.counted()
	l.pause(time.Second)
	l.sendAgain(first...) // all of it, a second later
	l.counted()
	l.restart(l.rollups[0]) // a new owner remembers nothing
	l.sendAgain(first...)
	l.settled()
}

func TestAllDuplicateBlock(t *testing.T) {
	l := sharedLab(t)
	first := l.send(100)
	l.counted()
	done := l.proxies[0].order(faultDropAnswer, 0)
	l.sendAgain(first...) // nothing in it enters any view
	l.until("the answer to be dropped", done)
	l.settled()
}

func TestSameIDWithAnotherPayload(t *testing.T) {
	l := sharedLab(t)
	for _, e := range l.send(20) {
		other := l.producer.gen.other(e.event)
		l.book.addOther(e, other)
		l.must(l.client.ProduceSync(t.Context(), l.producer.record(&other)).FirstErr())
	}
	l.settled()
}

// poison sends records that are no events.
func (l *lab) poison(n int) {
	l.t.Helper()
	for range n {
		l.producer.gen.serial++
		value := fmt.Appendf([]byte{0xff}, "poison %d", l.producer.gen.serial)
		listed := l.book.addPoison(value)
		err := l.client.ProduceSync(l.t.Context(), &kgo.Record{Topic: kafka.TopicEvents, Partition: 0, Key: []byte("poison"), Value: value}).FirstErr()
		l.must(err)
		l.book.settlePoison(listed, true)
	}
}

func TestPoisonRecords(t *testing.T) {
	l := sharedLab(t)
	l.poison(5)
	l.send(20)
	life := l.restart(l.rollups[0], at(fault.LettersSent, fault.ActionKill, 1, 0))
	l.poison(5)
	l.struck(life) // the letters are sent, their block is not: they are sent again
	<-life.ended
	l.restart(l.rollups[0])
	l.settled()
}

// Events that lie at the edges of a day, a month and a year, and of every
// bucket, in one block whose views are killed.
func TestBlockAcrossMidnightMonthAndYear(t *testing.T) {
	l := sharedLab(t)
	year := time.Now().UTC().Year()
	var entries []*entry
	for _, edge := range []time.Time{
		time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(year, 3, 1, 0, 0, 0, 0, time.UTC),
		time.Date(year-1, 12, 31, 12, 0, 0, 0, time.UTC),
		time.Now().UTC().Truncate(24 * time.Hour),
		time.Now().UTC().Truncate(time.Hour),
	} {
		for _, beside := range []time.Duration{-time.Microsecond, 0, time.Microsecond} {
			for range 5 {
				e := l.producer.gen.event()
				e.OccurredAt = edge.Add(beside)
				entries = append(entries, l.book.add(e, false))
			}
		}
	}
	life := l.restart(l.engine, at(fault.EngineRunning, fault.ActionKill, 1, 8*time.Millisecond))
	l.must(l.waitEngine(t.Context()))
	l.sendAgain(entries...)
	l.struck(life)
	l.restart(l.engine)
	l.must(l.waitEngine(t.Context()))
	l.settled()
}

// A producer's clock decides in which bucket its events lie, and nothing else.
func TestProducersWithWrongClocks(t *testing.T) {
	l := sharedLab(t)
	var entries []*entry
	for _, skew := range []time.Duration{-400 * 24 * time.Hour, -25 * time.Hour, -time.Hour, time.Hour, 25 * time.Hour} {
		for range 10 {
			e := l.producer.gen.event()
			e.OccurredAt = time.Now().Add(skew).UTC().Truncate(time.Microsecond)
			entries = append(entries, l.book.add(e, false))
		}
	}
	l.sendAgain(entries...)
	l.settled()
}

// A view's table refuses what comes. Nothing is counted meanwhile, and
// everything afterwards.
func TestViewThatThrows(t *testing.T) {
	l := sharedLab(t)
	l.send(20)
	l.counted()
	l.rows("ALTER TABLE usage_hour ADD CONSTRAINT refuse_all CHECK events < 0")
	l.send(50)
	l.must(poll(t.Context(), "the rollup to notice", patience, func(ctx context.Context) error {
		return l.wantCounter(ctx, l.rollups[0], "agentmeter_rollup_doubts_total")
	}))
	l.rows("ALTER TABLE usage_hour DROP CONSTRAINT refuse_all")
	l.settled()
}

// wantCounter requires that a counter of a rollup is not zero.
func (l *lab) wantCounter(ctx context.Context, of *process, name string) error {
	var content []byte
	if err := l.get(ctx, "http://"+l.addresses[of.name]+"/metrics", &content); err != nil {
		return err
	}
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok && strings.TrimSpace(value) != "0" {
			return nil
		}
	}
	return fmt.Errorf("%s is zero", name)
}

func TestTooManyParts(t *testing.T) {
	l := sharedLab(t)
	for _, table := range []string{"usage_ledger", "usage_day"} {
		l.send(20)
		l.counted()
		l.rows("SYSTEM STOP MERGES " + table)
		l.rows("ALTER TABLE " + table + " MODIFY SETTING parts_to_delay_insert = 1, parts_to_throw_insert = 1")
		l.send(50)
		l.must(poll(t.Context(), "the rollup to notice", patience, func(ctx context.Context) error {
			return l.wantCounter(ctx, l.rollups[0], "agentmeter_rollup_doubts_total")
		}))
		l.rows("ALTER TABLE " + table + " RESET SETTING parts_to_delay_insert, parts_to_throw_insert")
		l.rows("SYSTEM START MERGES " + table)
		l.counted()
		l.restart(l.rollups[0])
	}
	l.settled()
}

// Rollups that lack what the ledger has are rebuilt while events come in and
// the command itself is killed; then it is run to its end.
func TestRebuildUnderLoad(t *testing.T) {
	l := sharedLab(t)
	l.send(200)
	l.counted()
	for _, table := range []string{"usage_hour", "usage_playground", "usage_id_places"} {
		l.rows("TRUNCATE TABLE " + table)
	}
	for _, point := range pointsOf("rebuild") {
		life := l.restart(l.rebuild, at(point, fault.ActionKill, 1, 0))
		for life.strikes() == 0 && !life.over() {
			l.send(10)
			l.pause(100 * time.Millisecond)
		}
		l.struck(life)
		<-life.ended
	}
	life := l.restart(l.rebuild)
	for !life.over() {
		l.send(10)
		l.pause(100 * time.Millisecond)
	}
	l.must(life.err)
	l.settled()
}

// The ledger lost its newest parts, as with the power, and the rollup that joins
// the views to it dies in the middle of that.
func TestLedgerThatWasSetBack(t *testing.T) {
	l := sharedLab(t)
	l.send(200)
	l.counted()
	const rows = "SELECT count() FROM usage_ledger FORMAT TSV"
	cut := l.rows("SELECT max(block_lo) FROM usage_ledger WHERE partition = 0 FORMAT TSV")
	l.send(100)
	l.counted()
	before := strings.TrimSpace(l.rows(rows))
	for _, p := range l.rollups {
		p.kill()
	}
	l.rows("ALTER TABLE usage_ledger DELETE WHERE partition = 0 AND offset >= " + strings.TrimSpace(cut) + " SETTINGS mutations_sync = 2")
	for _, strike := range []fault.Strike{
		at(fault.RepairSetBack, fault.ActionKill, 1, 0),
		at(fault.RebuildBefore, fault.ActionKill, 2, 0),
		at(fault.RebuildAfter, fault.ActionKill, 2, 0),
	} {
		life := l.restart(l.rollups[0], strike)
		l.struck(life)
		<-life.ended
	}
	l.restart(l.rollups[0])
	l.must(poll(t.Context(), "the lost rows to be counted again", time.Minute, func(ctx context.Context) error {
		return l.wantRows(ctx, rows, before)
	}))
	l.settled()
}

// withoutDescriptors lets a process open no further file until loose is called, and
// returns a connection to it that the kernel has accepted and the process has not.
func (l *lab) withoutDescriptors(p *process) (conn net.Conn, loose func() error) {
	l.t.Helper()
	l.must(poll(l.t.Context(), p.name+" to accept no connection", patience, func(ctx context.Context) error {
		var err error
		if loose, err = noDescriptors(p.current().cmd.Process.Pid); err != nil {
			l.must(loose())
			if errors.Is(err, errors.ErrUnsupported) {
				l.t.Skip("SKIPPED: the system lets nobody limit another process")
			}
			l.must(err)
		}
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", l.addresses[p.name])
		l.must(err)
		_, err = io.WriteString(conn, "GET /healthz HTTP/1.0\r\n\r\n")
		l.must(err)
		l.must(conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		// It has closed what it had open when it was limited, and may open that much.
		return errors.Join(errors.New("it accepts one although it may open nothing"), conn.Close(), loose())
	}))
	return conn, loose
}

// No process may open another file for a while: what comes meanwhile is not
// accepted, and every listener goes on afterwards.
func TestDescriptorsExhausted(t *testing.T) {
	l := sharedLab(t)
	l.send(20)
	l.counted()
	for _, p := range []*process{l.broker, l.engine, l.ingest, l.query, l.rollups[0]} {
		conn, loose := l.withoutDescriptors(p)
		defer conn.Close()
		_, _ = l.evict(t.Context(), false) // something to do for everybody
		l.must(loose())
		l.must(conn.SetReadDeadline(time.Now().Add(patience)))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s accepts no connections any more", p.name)
		}
		if life := p.current(); life.over() {
			t.Errorf("%s ended for want of descriptors: %v", p.name, life.err)
			l.restart(p)
		}
	}
	l.must(l.waitReady(t.Context()))
	// Connections of their own, which nobody had before.
	fresh, err := l.producer.connect()
	l.must(err)
	defer fresh.Close()
	l.producer.deliver(t.Context(), fresh, []*entry{l.book.add(l.producer.gen.event(), false)})
	p := newHTTPProducer(l.book, sending{batch: 20, honest: true}, l.random, "http://"+l.addresses["ingest"], l.token)
	p.deliver(t.Context(), "/v1/events", p.batchOf())
	l.settled()
}

// Whoever comes first waits for the others, and whoever goes last loses nothing.
func TestRolesStartedInEachOrder(t *testing.T) {
	l := sharedLab(t)
	roles := []*process{l.broker, l.engine, l.ingest, l.query, l.rollups[0]}
	orders := [][]int{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}} // each pair in both
	for range 3 {
		orders = append(orders, l.random.Perm(len(roles)))
	}
	for _, order := range orders {
		t.Logf("order %v", order)
		sent := make(chan struct{})
		entries := []*entry{l.book.add(l.producer.gen.event(), false), l.book.add(l.producer.gen.event(), false)}
		for i := range order { // down in the one, up in the other
			roles[order[len(order)-1-i]].kill()
		}
		go func() { // it sends again until it is acknowledged
			defer close(sent)
			l.producer.deliver(l.t.Context(), l.client, entries)
		}()
		for _, role := range order {
			_, err := roles[role].start()
			l.must(err)
		}
		l.until("all to be acknowledged", sent)
		l.must(l.waitEngine(t.Context()))
		l.mustEvict(false)
		l.must(l.waitReady(t.Context()))
		l.counted()
	}
	l.settled()
}

// The file system of the engine and the broker is full for a while.
func TestDiskFull(t *testing.T) {
	requireAsked(t)
	t.Parallel()
	dir := t.TempDir()
	mount := exec.Command("mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", dir)
	if out, err := mount.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: it needs a small file system of its own, and may not mount one: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	l := newLab(t, labOptions{rollups: 1, partitions: 1, blockRows: 400, linger: 30 * time.Millisecond, dir: filepath.Join(dir, "data")})
	t.Cleanup(l.close)
	l.send(100)
	l.settled()
	filler, err := os.Create(filepath.Join(dir, "filler"))
	l.must(err)
	defer filler.Close()
	chunk := make([]byte, 64<<10)
	for {
		if _, err = filler.Write(chunk); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	// What the broker cannot write it must not acknowledge; what it has
	// acknowledged must be counted in the end.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 10 {
		entries := []*entry{l.book.add(l.producer.gen.event(), false), l.book.add(l.producer.gen.event(), false)}
		once, stop := context.WithTimeout(ctx, 2*time.Second)
		l.producer.deliver(once, l.client, entries)
		stop()
	}
	// Room enough for the broker, and not for a part.
	l.must(filler.Truncate(0))
	l.send(100)
	l.settled()
}

// Kafka's log is cut off above the ledger's end: the partition halts, says so,
// and counts nothing, whatever else happens.
func TestRetentionPastTheLedgersEnd(t *testing.T) {
	requireAsked(t)
	t.Parallel()
	l := ownLab(t, labOptions{rollups: 1, partitions: 1, blockRows: 400, linger: 30 * time.Millisecond})
	l.send(50)
	l.settled()
	l.rollups[0].kill()
	l.send(50)
	// The embedded broker deletes what is past its age, once a minute.
	set := func(value string) {
		_, err := l.admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, kafka.TopicEvents)
		l.must(err)
	}
	set("1")
	l.must(poll(t.Context(), "records to be deleted", 2*patience, func(ctx context.Context) error {
		begins, err := l.admin.ListStartOffsets(ctx, kafka.TopicEvents)
		if err != nil {
			return err
		}
		if begin, ok := begins.Lookup(kafka.TopicEvents, 0); !ok || begin.Offset <= 50 {
			return fmt.Errorf("the log begins at %d", begin.Offset)
		}
		return nil
	}))
	l.restart(l.rollups[0])
	var halted haltedError
	if err := l.judge.waitCounted(t.Context()); !errors.As(err, &halted) {
		t.Fatalf("a partition whose log begins above its ledger's end: %v, want it halted", err)
	}
	t.Log(halted)
	before := l.rows("SELECT count(), max(offset) FROM usage_ledger")
	l.restart(l.engine)
	l.must(l.waitEngine(t.Context()))
	l.restart(l.rollups[0])
	l.pause(2 * time.Second)
	if after := l.rows("SELECT count(), max(offset) FROM usage_ledger"); after != before {
		t.Errorf("a halted partition went on: the ledger has %q rows and end, it had %q", after, before)
	}
	// The audit does not call it exact.
	if out, err := l.command(t.Context(), "audit", "--json", "--kafka", l.addresses["broker"], "--clickhouse", "http://"+l.addresses["engine"]); err == nil {
		t.Errorf("the audit calls it exact: %s", out)
	}
}

// Whatever a run of the random schedule finds, everybody can find again: what
// it draws comes from the seed alone.
func TestSeedDecidesEverythingDrawn(t *testing.T) {
	draw := func() string {
		r := &run{config: Config{Setup: Setup{Seed: 7}}, stack: &stack{engine: &process{}, broker: &process{}, ingest: &process{}, query: &process{}, rebuild: &process{}, rollups: []*process{{}, {}}}}
		r.random = r.rand(0)
		r.strikes = newDeck(r.random)
		var out strings.Builder
		for range 50 {
			for _, a := range r.actors() {
				fmt.Fprintln(&out, a.role, a.plan())
			}
		}
		gen := &generator{random: r.rand(1), prefix: "x"}
		for range 50 {
			e := gen.event()
			fmt.Fprintln(&out, e.ID, e.Workspace, e.Agent, e.Credits, e.Messages)
		}
		return out.String()
	}
	if first, second := draw(), draw(); first != second {
		t.Error("two draws from one seed differ")
	}
}

// Every point of a role that a run can reach is dealt once in a round.
func TestEveryPointHasItsTurn(t *testing.T) {
	r := &run{config: Config{Setup: Setup{Seed: 1}}}
	d := newDeck(r.rand(0))
	for _, role := range []string{"rollup", "engine", "ingest", "broker"} {
		dealt := make(map[string]bool)
		points := pointsOf(role)
		for range points {
			dealt[d.deal(role)] = true
		}
		if len(dealt) != len(points) || len(points) == 0 {
			t.Errorf("%s: %d of %d points were dealt", role, len(dealt), len(points))
		}
	}
}

// The expectation is worked out from events alone, so it can be tried out on
// one that everybody can add up.
func TestDashboardIsAddedUpAnew(t *testing.T) {
	at := time.Date(2026, 11, 24, 9, 31, 0, 0, time.UTC)
	events := []*schemas.Event{
		{Workspace: "w", Agent: "a", OccurredAt: at, Credits: 1_500_000, Messages: 1, Channel: "api"},
		{Workspace: "w", Agent: "b", OccurredAt: at, Credits: 500_000, Messages: 1, Channel: schemas.ChannelPlayground},
		{Workspace: "w", Agent: "a", OccurredAt: at.Add(-48 * time.Hour), Credits: 7, Messages: 1, Channel: "api"},
	}
	var d dashboard
	d.Range.Start, d.Range.End = at.Truncate(24*time.Hour), at.Truncate(24*time.Hour).Add(24*time.Hour)
	d.Summary.Credits, d.Summary.Messages, d.PlaygroundMessages, d.AgentsTotal = "1.5", "1", "1", 1
	d.Agents = append(d.Agents, struct {
		ID       string `json:"id"`
		Credits  string `json:"credits"`
		Messages string `json:"messages"`
	}{"a", "1.5", "1"})
	if problems := d.differs(events); len(problems) > 0 {
		t.Errorf("a right answer: %q", problems)
	}
	d.Summary.Credits = "1.500001"
	if problems := d.differs(events); len(problems) != 1 {
		t.Errorf("a millionth too many: %q", problems)
	}
}

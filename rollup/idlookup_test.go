package rollup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/clickhouse/schematest"
	"agentmeter/schemas"
)

// newTables is a client of the real engine with the schema in it.
func newTables(t testing.TB) *clickhouse.Client {
	t.Helper()
	_, client := schematest.Tables(t)
	return client
}

// appender appends blocks to the ledger of one partition.
type appender struct {
	t       testing.TB
	ledger  *ledger
	columns *columns
	next    int64
}

func newAppender(t testing.TB, client *clickhouse.Client, partition int32) *appender {
	return &appender{t: t, columns: newColumns(), ledger: &ledger{client: client, stream: uuid.New(), partition: partition, timeout: time.Minute}}
}

// blockOf is the next block, of these events, decoded but not classified.
func (a *appender) blockOf(events []schemas.Event) *block {
	b := &block{lo: a.next, hi: a.next + int64(len(events)), day: dayOf(testTime), rows: make([]row, len(events))}
	for i := range events {
		e := &events[i]
		b.rows[i] = row{
			offset: a.next + int64(i), kafkaTime: testTime, event: *e, record: &kgo.Record{},
			hash: schemas.HashID(e.Workspace, e.ID), payload: e.PayloadHash(),
		}
	}
	return b
}

func (a *appender) append(b *block) {
	a.t.Helper()
	encoded, err := a.columns.encode(nil, b)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := a.ledger.append(a.t.Context(), b, encoded); err != nil {
		a.t.Fatal(err)
	}
	a.next = b.hi
}

// count appends the events as new ones, and returns their hashes.
func (a *appender) count(events []schemas.Event) []schemas.IDHash {
	a.t.Helper()
	b := a.blockOf(events)
	classify(b.rows, map[schemas.IDHash]uint64{})
	a.append(b)
	ids := make([]schemas.IDHash, len(b.rows))
	for i := range b.rows {
		ids[i] = b.rows[i].hash
	}
	return ids
}

func mustExec(t testing.TB, client *clickhouse.Client, sql string) {
	t.Helper()
	if err := client.Conn().Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestLookUpFindsExactlyWhatWasRecorded(t *testing.T) {
	client := newTables(t)
	a, other := newAppender(t, client, 3), newAppender(t, client, 0)
	events := testEvents(3000)
	events[7].Channel = schemas.ChannelPlayground
	events[8].Adjustment = &schemas.Adjustment{Reason: "refund"}
	ids := a.count(events[:2000])
	ids = append(ids, other.count(events[2000:])...) // another stream: a predecessor

	for _, n := range []int{1, 2, 500, len(ids)} {
		asked := append([]schemas.IDHash{}, ids[:n]...)
		for i := range 500 {
			asked = append(asked, schemas.HashID("ws_new", fmt.Sprint(i)))
		}
		found, err := a.ledger.findRecorded(t.Context(), asked, a.next)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != n {
			t.Errorf("%d ids are found, want %d", len(found), n)
		}
		for i := range n {
			if want := events[i].PayloadHash(); found[ids[i]] != want {
				t.Errorf("event %d: found %d, want payload %d", i, found[ids[i]], want)
			}
		}
	}
}

func TestManyIDsAreLookedUpAsFew(t *testing.T) {
	client := newTables(t)
	a := newAppender(t, client, 0)
	events := testEvents(30_000)
	ids := a.count(events)
	found, err := a.ledger.findRecorded(t.Context(), ids, a.next)
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		if want := events[i].PayloadHash(); found[ids[i]] != want {
			t.Fatalf("event %d: found %d, want payload %d", i, found[ids[i]], want)
		}
	}
}

// The longest statements stay below the bound on their text.
func TestLongestListsAreAccepted(t *testing.T) {
	client := newTables(t)
	a := newAppender(t, client, 0)
	ids := make([]schemas.IDHash, maxKeys+1)
	for i := range ids {
		ids[i] = smallID(i)
	}
	if found, err := a.ledger.findRecorded(t.Context(), ids, 0); err != nil || len(found) != 0 {
		t.Errorf("%d ids: found %d, %v", len(ids), len(found), err)
	}
	a.count(testEvents(10))
	offsets := make([]int64, maxOffsets)
	for i := range offsets {
		offsets[i] = int64(i) + 1<<40
	}
	err := a.ledger.readRecorded(t.Context(), &search{}, *a.ledger.place(), offsets)
	if !errors.Is(err, errInconsistentIDs) { // and no exception of the engine
		t.Errorf("got %v, want %v", err, errInconsistentIDs)
	}
}

// A try that failed, or a ledger that was set back, leaves ids in the look-up
// that the ledger does not hold: they are new.
func TestLeftoverOfABlockThatIsNotInTheLedgerIsNew(t *testing.T) {
	client := newTables(t)
	a := newAppender(t, client, 0)
	events := testEvents(100)
	ids := a.count(events[:60])
	late := a.count(events[60:])
	mustExec(t, client, `ALTER TABLE usage_ledger DELETE WHERE offset >= 60 SETTINGS mutations_sync = 1`)
	found, err := a.ledger.findRecorded(t.Context(), append(ids, late...), 60)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 60 {
		t.Errorf("%d ids are found, want the 60 that the ledger holds", len(found))
	}
	for _, id := range late {
		if recorded, ok := found[id]; ok {
			t.Fatalf("a leftover is found, with payload %d", recorded)
		}
	}
}

func TestLookUpThatContradictsTheLedgerIsAnError(t *testing.T) {
	for _, test := range []struct{ name, breakage string }{
		{"a row is missing", `ALTER TABLE usage_ledger DELETE WHERE offset = 5 SETTINGS mutations_sync = 1`},
		{"a row holds another id", `INSERT INTO usage_id_places SELECT id_key, stream, partition, 7 FROM usage_id_places WHERE offset = 5`},
		{"a row recorded nothing", `ALTER TABLE usage_ledger UPDATE outcome = 'duplicate', credits = 0 WHERE offset = 5 SETTINGS mutations_sync = 1`},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := newTables(t)
			a := newAppender(t, client, 0)
			ids := a.count(testEvents(20))
			mustExec(t, client, test.breakage)
			if found, err := a.ledger.findRecorded(t.Context(), ids, a.next); !errors.Is(err, errInconsistentIDs) {
				t.Errorf("found %d and %v, want %v", len(found), err, errInconsistentIDs)
			}
			if found, err := a.ledger.findRecorded(t.Context(), ids[10:], a.next); err != nil || len(found) != 10 {
				t.Errorf("other ids: found %d of 10, %v", len(found), err)
			}
		})
	}
}

// Of two ids with one key each is known as itself, and none is known of which the
// other alone was recorded.
func TestIDsWithTheSameKeyAreToldApart(t *testing.T) {
	client := newTables(t)
	a, other := newAppender(t, client, 1), newAppender(t, client, 2)
	var both, first, second []schemas.Event
	for i, pair := range schematest.SameKey() {
		events := testEvents(2)
		for j := range events {
			events[j].Workspace, events[j].ID, events[j].Credits = schematest.SameKeyWorkspace, pair[j], schemas.Credits(10*i+j)
		}
		switch i % 3 {
		case 0:
			both = append(both, events...)
		case 1:
			first, second = append(first, events[0]), append(second, events[1])
		default: // in another stream
			other.count(events[:1])
			first, second = append(first, events[0]), append(second, events[1])
		}
	}
	a.count(both)
	for i := range first {
		if i%2 == 0 {
			a.count(first[i : i+1])
		}
	}
	ask := slices.Concat(both, first, second)
	b := a.blockOf(ask)
	hashes := make([]schemas.IDHash, len(ask))
	for i := range ask {
		hashes[i] = b.rows[i].hash
	}
	found, err := a.ledger.findRecorded(t.Context(), hashes, a.next)
	if err != nil {
		t.Fatal(err)
	}
	for i := range ask {
		payload, ok := found[hashes[i]]
		if want := i < len(both)+len(first); ok != want || ok && payload != ask[i].PayloadHash() {
			t.Errorf("id %s is known: %v, with payload %d; want %v", ask[i].ID, ok, payload, want)
		}
	}
}

// What another partition of the stream has under the same key is nothing to this one,
// not even where that partition is in disorder: copies of an id meet in one.
func TestAnotherPartitionsIDsAreNotLookedAt(t *testing.T) {
	client := newTables(t)
	a, neighbour := newAppender(t, client, 1), newAppender(t, client, 2)
	neighbour.ledger.stream = a.ledger.stream
	pair := schematest.SameKey()[0]
	events := testEvents(2)
	for i := range events {
		events[i].Workspace, events[i].ID = schematest.SameKeyWorkspace, pair[i]
	}
	own := a.count(events[:1])
	theirs := neighbour.count(events[1:])
	mustExec(t, client, `ALTER TABLE usage_ledger DELETE WHERE partition = 2 SETTINGS mutations_sync = 1`)
	found, err := a.ledger.findRecorded(t.Context(), append(own, theirs...), a.next)
	if err != nil || len(found) != 1 || found[own[0]] != events[0].PayloadHash() {
		t.Errorf("found %v, %v", found, err)
	}
}

// A copy of an erased event passes for new, whatever it says now, and the statement
// that appends it blanks it, in the ledger and in every view.
func TestCopiesOfErasedEventsAreBlank(t *testing.T) {
	client := newTables(t)
	a := newAppender(t, client, 0)
	events := testEvents(20)
	for i := range events {
		events[i].Workspace = "ws_gone"
	}
	a.count(events)
	mustExec(t, client, `INSERT INTO usage_erasures VALUES ('ws_gone', now64(3))`)
	mustExec(t, client, `ALTER TABLE usage_ledger UPDATE outcome = 'erased', event_id = '', workspace = '', agent = '', credits = 0, messages = 0 WHERE offset < 10 SETTINGS mutations_sync = 1`)
	k := newKnownIDs(t.Context(), a.ledger.findRecorded, nil, idOptions{})
	defer k.close()
	events[3].Credits++
	b := a.blockOf(events)
	known, err := k.lookUp(t.Context(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(known) != 10 {
		t.Errorf("%d ids are known, want the ten that are not erased", len(known))
	}
	classify(b.rows, known)
	a.append(b)
	for sql, want := range map[string]string{
		"SELECT toString(countIf(outcome = 'erased' AND event_id = '' AND workspace = '' AND credits = 0)) FROM usage_ledger WHERE offset >= 20": "20",
		"SELECT toString(count()) FROM usage_id_places WHERE offset >= 20":                                                                       "0",
		"SELECT toString(sum(events)) FROM usage_hour":                                                                                           "20",
	} {
		var got string
		if err := client.Conn().QueryRow(t.Context(), sql).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", sql, got, err, want)
		}
	}
}

func TestFilterIsLoadedFromTheTable(t *testing.T) {
	client := newTables(t)
	a, other := newAppender(t, client, 0), newAppender(t, client, 1)
	neighbour := newAppender(t, client, 2)
	neighbour.ledger.stream = a.ledger.stream
	own := a.count(testEvents(1000))
	foreign := other.count(testEvents(2000)[1000:])
	neighbour.count(testEvents(3000)[2000:])
	source := ledgerIDs{a.ledger}
	n, err := source.countIDs(t.Context())
	if err != nil || n != 2000 {
		t.Errorf("%d ids, %v; want 2000: its own and another stream's", n, err)
	}
	got := make(map[schemas.IDKey]bool)
	collect := func(ids []schemas.IDKey) {
		for _, id := range ids {
			got[id] = true
		}
	}
	if err := source.loadIDs(t.Context(), collect); err != nil {
		t.Fatal(err)
	}
	for _, id := range append(own, foreign...) {
		if !got[id.Key()] {
			t.Fatalf("%x is not loaded", id)
		}
	}
	if len(got) != 2000 {
		t.Errorf("%d ids are loaded, want 2000", len(got))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := source.loadIDs(ctx, collect); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled load: %v", err)
	}
}

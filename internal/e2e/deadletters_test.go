package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/schemas"
)

// Whoever looks after what could not be counted is told of each record why, what
// is in it and, of a conflict, what was recorded instead; what can be counted is
// put back, once however often it is put back.
func TestDeadLettersAreListedShownAndPutBack(t *testing.T) {
	i := runOn(t, t.TempDir())
	write := i.token("ws_a", "events:write")
	send := func(events string) {
		t.Helper()
		if err := expectStatus(t, http.MethodPost, i.endpoints.HTTP+"/v1/events", write, strings.NewReader(events), http.StatusAccepted); err != nil {
			t.Fatal(err)
		}
	}
	ledger := func(want string) {
		t.Helper()
		i.waitFor("to have all of it in the ledger", countPatience, func() error {
			if got := sql(t, i.endpoints.ClickHouse, "SELECT outcome, count() FROM usage_ledger GROUP BY outcome ORDER BY outcome"); got != want {
				return notYetError{got}
			}
			return nil
		})
	}
	deadletter := func(want int, args ...string) string {
		t.Helper()
		code, stdout, stderr := agentmeter(t, append([]string{"deadletter", args[0], "--data-dir", i.dir}, args[1:]...)...)
		if code != want {
			t.Fatalf("deadletter %v: exit status %d, want %d: %s%s", args, code, want, stdout, stderr)
		}
		return stdout
	}
	// lines checks that each of some lines is there, whatever stands between its words.
	lines := func(text string, want ...string) {
		t.Helper()
		for _, line := range want {
			words := strings.Fields(line)
			for n := range words {
				words[n] = regexp.QuoteMeta(words[n])
			}
			if !regexp.MustCompile(`(?m)^` + strings.Join(words, ` +`) + ` *$`).MatchString(text) {
				t.Errorf("no line %q in:\n%s", line, text)
			}
		}
	}
	if got := deadletter(0, "list"); got != "No dead letters.\n" {
		t.Errorf("%q", got)
	}

	day := time.Now().UTC().Add(-time.Hour).Truncate(time.Second)
	event := func(id, rest string) string {
		return `{"id":"` + id + `","workspace_id":"ws_a","agent_id":"agt_1","occurred_at":"` + day.Format(time.RFC3339) + `",` + rest + `}`
	}
	send("[" + event("answered", `"channel":"embed","credits":"1.5"`) + "," + event("tested", `"channel":"playground","credits":"2"`) + "]")
	ledger("counted\t1\nplayground\t1")
	send(event("answered", `"channel":"embed","credits":"7.25"`))
	send(event("tested", `"channel":"slack","credits":"2"`))
	ledger("counted\t1\nplayground\t1\ninvalid\t2")

	// What comes from Kafka directly: bytes that are no event, and an event in a
	// partition that its key does not lead to.
	producer, err := kgo.NewClient(kgo.SeedBrokers(i.endpoints.Kafka), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("usage.events.v1"))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	topics, err := kadm.NewClient(producer).ListTopics(t.Context(), "usage.events.v1")
	if err != nil {
		t.Fatal(err)
	}
	partitions := int32(len(topics["usage.events.v1"].Partitions))
	astray := schemas.Event{ID: "astray", Workspace: "ws_a", Agent: "agt_1", Channel: "embed", Credits: 3_000_000, Messages: 1, OccurredAt: day}
	key := schemas.RecordKey(astray.Workspace, astray.ID)
	wrong := (schemas.PartitionOf(key, partitions) + 1) % partitions
	if err := producer.ProduceSync(t.Context(),
		&kgo.Record{Key: []byte("key"), Value: []byte("\x1b[2Jno event\xff"), Partition: wrong},
		&kgo.Record{Key: key, Value: schemas.EncodeEvent(nil, &astray), Partition: wrong},
	).FirstErr(); err != nil {
		t.Fatal(err)
	}
	ledger("counted\t1\nplayground\t1\ninvalid\t4")

	position := make(map[string]string)
	list := deadletter(0, "list")
	for _, line := range strings.Split(strings.TrimSpace(list), "\n")[1:] {
		fields := strings.Fields(line)
		name := fields[3] // the code
		if name == "payload_conflict" {
			name = fields[5] // the event's id
		}
		position[name] = fields[0]
	}
	for _, name := range []string{"answered", "tested", "undecodable", "wrong_partition"} {
		if position[name] == "" {
			t.Fatalf("%s is not listed:\n%s", name, list)
		}
	}
	if got := deadletter(0, "list", "--code", "wrong_partition", "--json"); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"id":"astray"`) {
		t.Errorf("by code: %s", got)
	}

	shown := deadletter(0, "show", position["answered"])
	lines(shown, "code payload_conflict", "credits 7.25",
		"credits 7.25 1.5 differs", "channel embed embed", "agent_id agt_1 agt_1", "messages 1 1")
	if !strings.Contains(shown, "Under its id is recorded, as counted, offset ") {
		t.Errorf("it does not say what was recorded: %s", shown)
	}
	shown = deadletter(0, "show", position["tested"])
	lines(shown, "channel slack playground differs", "credits 2 not kept of Playground tests")
	shown = deadletter(0, "show", position["undecodable"])
	lines(shown, "code undecodable", "bytes 13")
	if strings.Contains(shown, "\x1b") || strings.Contains(shown, "\xff") {
		t.Errorf("bytes of a record reach the terminal: %q", shown)
	}
	lines(deadletter(0, "show", position["wrong_partition"]), "code wrong_partition", "id astray", "credits 3", "replay possible")
	deadletter(1, "show", "999999")
	deadletter(2, "show", "nonsense")

	if got := deadletter(0, "replay", "--code", "wrong_partition"); !strings.Contains(got, "1 would be put back, 0 refused") {
		t.Errorf("without --yes: %s", got)
	}
	if got := deadletter(1, "replay", "--all", "--yes"); !strings.Contains(got, "1 put back, 3 refused") {
		t.Errorf("all: %s", got)
	}
	ledger("counted\t2\nplayground\t1\ninvalid\t4")
	deadletter(0, "replay", position["wrong_partition"])
	ledger("counted\t2\nplayground\t1\nduplicate\t1\ninvalid\t4")
	mustAgentmeter(t, "audit", "--data-dir", i.dir)
}

package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/slowtest"
)

// With a key, the id of a conversation is nowhere but with whoever sent it: not in
// Kafka, ClickHouse, answers, logs or metrics. What was counted before the key came,
// or by another, counts once still.
func TestConversationIDsAreStoredNowhere(t *testing.T) {
	slowtest.Begin(t)
	const secret = "conv-planted-4520123456"
	dir := t.TempDir()
	key := []byte("0123456789abcdef0123456789abcdef")
	keyFile := filepath.Join(t.TempDir(), "conversation.key")
	if err := os.WriteFile(keyFile, append(key, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	at := nowText()
	event := func(id, conversation, credits string) string {
		return `{"id":"` + id + `","workspace_id":"ws_a","agent_id":"agt","conversation_id":"` + conversation + `","occurred_at":"` + at + `","channel":"embed","credits":"` + credits + `"}`
	}
	post := func(i *instance, token, body string, want int) {
		t.Helper()
		if err := expectStatus(t, http.MethodPost, i.endpoints.HTTP+"/v1/events", token, strings.NewReader(body), want); err != nil {
			t.Fatal(err)
		}
	}
	recorded := func(i *instance, token, events string) {
		t.Helper()
		i.waitFor("to count the events", countPatience, func() error {
			if d := readDashboard(t, i.endpoints.HTTP, token, "ws_a", "range=7d"); d.RecordedEvents != events || d.Completeness != "complete" {
				return notYetError{d.RecordedEvents + " " + d.Completeness}
			}
			return nil
		})
	}

	// Before there is a key: an id that is no secret.
	i := runOn(t, dir)
	token := i.token("ws_a", "events:write,usage:read")
	post(i, token, event("before", "conv-open", "1"), http.StatusAccepted)
	recorded(i, token, "1")
	i.stop()

	i = runOn(t, dir, "--conversation-key-file", keyFile, "--log-level", "debug")
	file := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(file, []byte(event("imported", secret, "4")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	post(i, token, "["+event("e1", secret, "2")+","+event("before", "conv-open", "1")+"]", http.StatusAccepted)
	post(i, token, event("e1", secret, "3"), http.StatusAccepted) // other credits: a dead letter
	post(i, token, event("e2", secret, "-1"), http.StatusUnprocessableEntity)
	mustAgentmeter(t, "import", "--data-dir", dir, file)
	recorded(i, token, "3")
	if d := readDashboard(t, i.endpoints.HTTP, token, "ws_a", "range=7d"); d.Summary.Credits != "7" {
		t.Errorf("%s credits, want 7", d.Summary.Credits)
	}

	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("ws_a\x00" + secret))
	hashed := base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
	absent := func(where, content string) {
		t.Helper()
		if strings.Contains(content, secret) || strings.Contains(content, "conv-planted") {
			t.Errorf("%s: the conversation's id is there: %.500s", where, content)
		}
	}
	var behind struct {
		Items []struct{ Key, Credits string }
	}
	get(t, i.endpoints.HTTP+"/v1/usage/breakdown?workspace=ws_a&by=conversation&range=7d", token, &behind)
	absent("the breakdown", fmt.Sprint(behind))
	if len(behind.Items) != 2 || behind.Items[0].Key != hashed || behind.Items[0].Credits != "6" {
		t.Errorf("the conversation is not told by its hash %s: %v", hashed, behind.Items)
	}
	for table := range strings.FieldsSeq(sql(t, i.endpoints.ClickHouse, "SELECT name FROM system.tables WHERE database = 'agentmeter' AND engine LIKE '%MergeTree%'")) {
		absent("table "+table, sql(t, i.endpoints.ClickHouse, "SELECT * FROM agentmeter."+table+" FORMAT JSONEachRow"))
	}
	records := topics(t, i.endpoints.Kafka)
	if !strings.Contains(records, hashed) {
		t.Error("Kafka was not looked through")
	}
	absent("Kafka", records)
	absent("dead letters", mustAgentmeter(t, "deadletter", "list", "--data-dir", dir))
	_, metrics := call(t, http.MethodGet, i.endpoints.HTTP+"/metrics", "", nil)
	absent("metrics", string(metrics))
	mustAgentmeter(t, "audit", "--data-dir", dir)
	i.stop()
	absent("the log", i.stderr.String())
}

// topics is all that is in Kafka.
func topics(t *testing.T, broker string) string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeRegex(), kgo.ConsumeTopics(".*"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	left := int64(0)
	ends.Each(func(end kadm.ListedOffset) { left += end.Offset })
	var all strings.Builder
	for left > 0 {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			fmt.Fprintf(&all, "%s %s %s %v\n", r.Topic, r.Key, r.Value, r.Headers)
		})
	}
	return all.String()
}

package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
)

// A service that knows docs/producers.md and none of our code but the protobuf
// message is counted exactly: what it sends twice once, and what comes over
// HTTP, too, once as well.
func TestDirectProducerIsCountedExactly(t *testing.T) {
	slowtest.Begin(t)
	producer := filepath.Join(t.TempDir(), "producer")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", producer, "agentmeter/client/examples/producer").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	i := runOn(t, t.TempDir())
	const workspaces, each = 3, 700
	w := newTraffic(t, "") // for its day
	want := make([]schemas.CreditsSum, workspaces)
	var lines, overHTTP strings.Builder
	overHTTP.WriteByte('[')
	for n := range workspaces * each {
		credits := schemas.Credits(1_000_001 + n%5*333_333)
		id := fmt.Sprintf("%s#ä%d", strings.Repeat("x", n%9), n) // of every length modulo four
		if n%3 == 0 {
			id = uuid.NewSHA1(uuid.NameSpaceURL, []byte(id)).String()
		}
		workspace := n % workspaces
		want[workspace] = want[workspace].Plus(schemas.SumOf(credits))
		common := fmt.Sprintf(`"id":"%s","workspace_id":"ws_direct_%d","agent_id":"agt_%d","channel":"embed","occurred_at":"%s"`,
			id, workspace, n%4, w.day.Add(time.Duration(n)*time.Second).Format(time.RFC3339))
		fmt.Fprintf(&lines, "{%s,\"credits_micro\":%d}\n", common, credits)
		if n > 0 {
			overHTTP.WriteByte(',')
		}
		fmt.Fprintf(&overHTTP, `{%s,"credits":"%s"}`, common, credits)
	}
	overHTTP.WriteByte(']')

	for range 2 {
		cmd := exec.CommandContext(t.Context(), producer, "-kafka", i.endpoints.Kafka)
		cmd.Stdin = strings.NewReader(lines.String())
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != fmt.Sprintf("%d events acknowledged\n", workspaces*each) {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if err := expectStatus(t, http.MethodPost, i.endpoints.HTTP+"/v1/events", i.token("*", "events:write"), strings.NewReader(overHTTP.String()), http.StatusAccepted); err != nil {
		t.Fatal(err)
	}
	outcomes := fmt.Sprintf("counted\t%d\nduplicate\t%d", workspaces*each, 2*workspaces*each)
	i.waitFor("to count them", countPatience, func() error {
		if got := sql(t, i.endpoints.ClickHouse, "SELECT outcome, count() FROM usage_ledger GROUP BY outcome ORDER BY outcome"); got != outcomes {
			return notYetError{got}
		}
		return nil
	})
	read := i.token("*", "usage:read")
	for workspace, want := range want {
		i.waitFor("to have it in the figures", countPatience, func() error {
			d := readDashboard(t, i.endpoints.HTTP, read, fmt.Sprintf("ws_direct_%d", workspace), w.parameters())
			if d.Summary.Credits != want.String() || d.RecordedEvents != fmt.Sprint(each) {
				return notYetError{fmt.Sprintf("workspace %d: %s credits of %s events, want %s of %d", workspace, d.Summary.Credits, d.RecordedEvents, want, each)}
			}
			return nil
		})
	}
	mustAgentmeter(t, "audit", "--data-dir", i.dir)
}

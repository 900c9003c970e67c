package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"agentmeter/client"
	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// A Go program that uses the client gets the same figures from everything that
// answers them, through a front that now and then loses a request, an answer, or
// a stream.
func TestGoClientGetsTheSameFiguresThroughALossyFront(t *testing.T) {
	slowtest.Begin(t)
	i := runOn(t, t.TempDir())
	target, err := url.Parse(i.endpoints.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	front := httputil.NewSingleHostReverseProxy(target)
	front.FlushInterval = -1 // a stream's pieces are passed on at once
	front.ErrorLog = log.New(io.Discard, "", 0)
	var calls, streams atomic.Int64
	lossy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/usage/live" {
			if streams.Add(1) > 1 { // the first one ends soon
				front.ServeHTTP(w, r)
				return
			}
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			defer cancel()
			front.ServeHTTP(w, r.WithContext(ctx))
			return
		}
		switch calls.Add(1) % 5 {
		case 1: // counted, and nobody learns of it
			front.ServeHTTP(discard{http.Header{}}, r)
			panic(http.ErrAbortHandler)
		case 3:
			http.Error(w, "no upstream", http.StatusBadGateway)
		default:
			front.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(lossy.Close)
	c, err := client.New(lossy.URL, client.WithToken(i.token("ws_client", "events:write,adjustments:write,directory:write,usage:read")), client.WithCompression(client.CompressAlways), client.WithRetries(client.Retries{MinBackoff: time.Millisecond}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx := t.Context()

	if _, err := c.PutWorkspace(ctx, "ws_client", api.WorkspaceSettings{Name: new("Client"), Timezone: new("Europe/Copenhagen"), Seats: new(int64(5))}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutMember(ctx, "ws_client", "mem/1", "Ada"); err != nil {
		t.Fatal(err)
	}
	const agents = 130
	agent := func(a int) string { return fmt.Sprintf("agt-%03d", a) }
	if _, err := c.PutAgent(ctx, "ws_client", agent(7), "=Seven"); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	var want schemas.CreditsSum
	var events []api.Event
	for n := range 2 * agents {
		credits := schemas.Credits(1 + n*1_000_001)
		want = want.Plus(schemas.SumOf(credits))
		events = append(events, api.Event{
			ID: fmt.Sprint("e-", n), WorkspaceID: "ws_client", AgentID: agent(n % agents), OccurredAt: now, Channel: "embed",
			Credits: credits, Model: new([]string{"large", "small"}[n%2]),
		})
	}
	bad := events[0]
	bad.ID, bad.Credits = "bad", -1
	events = append(events[:100:100], append([]api.Event{bad}, events[100:]...)...)
	answer, err := c.SendEvents(ctx, events)
	if err != nil || answer.Accepted != 2*agents || len(answer.Rejected) != 1 || answer.Rejected[0].Index != 100 || answer.Rejected[0].Code != "credits_negative" {
		t.Fatalf("got %d accepted, %+v rejected, %v", answer.Accepted, answer.Rejected, err)
	}
	if err := c.Adjust(ctx, api.Adjustment{ID: "refund", WorkspaceID: "ws_client", AgentID: agent(7), OccurredAt: now, Credits: -500_000, Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	want = want.Minus(schemas.SumOf(500_000))

	// The live stream says when to look, and outlives the connection that ends.
	week := new(api.Preset7Days) // midnight may pass meanwhile
	patience, cancel := context.WithTimeout(ctx, countPatience)
	defer cancel()
	var board *client.DashboardAnswer
	for _, err := range c.Live(patience, "ws_client") {
		if err != nil {
			t.Fatalf("live: %v; the last figures: %+v", err, board)
		}
		if board, err = c.Dashboard(ctx, api.GetDashboardParams{Workspace: "ws_client", Range: week}); err != nil {
			t.Fatal(err)
		}
		if board.Dashboard.Summary.Credits == want.String() && board.Dashboard.AgentsTotal == agents && streams.Load() > 1 {
			break
		}
	}
	if got := board.Dashboard.Summary.TeamMembers; got.Used != 1 || got.Available == nil || *got.Available != 5 {
		t.Errorf("team members %+v, want 1 of 5", got)
	}

	var leaders, rows schemas.CreditsSum
	seen := make(map[string]bool)
	for leader, err := range c.AllAgents(ctx, api.GetUsageAgentsParams{Workspace: "ws_client", Range: week}) {
		if err != nil {
			t.Fatal(err)
		}
		leaders = leaders.Plus(sumOf(t, leader.Credits))
		seen[leader.ID] = true
	}
	if leaders != want || len(seen) != agents {
		t.Errorf("%d leaders with %s credits, want %d with %s", len(seen), leaders, agents, want)
	}
	named := ""
	for row, err := range c.ExportRows(ctx, api.ExportUsageParams{Workspace: "ws_client", Range: week}) {
		if err != nil {
			t.Fatal(err)
		}
		rows = rows.Plus(sumOf(t, *row.Credits))
		if row.AgentID == agent(7) {
			named = row.AgentName
		}
	}
	if rows != want || named != "=Seven" {
		t.Errorf("the export has %s credits and a name %q, want %s", rows, named, want)
	}
	parts, err := c.Breakdown(ctx, api.GetBreakdownParams{Workspace: "ws_client", By: api.ByModel, Range: week})
	if err != nil || parts.Total.Credits != want.String() {
		t.Errorf("breakdown: %+v, %v, want %s", parts, err, want)
	}
	proof, err := c.Reconcile(ctx, api.GetReconcileParams{Workspace: "ws_client", Range: week})
	if err != nil || !proof.Exact || proof.Ledger.Credits != want.String() {
		t.Errorf("reconcile: %+v, %v, want exact and %s", proof, err, want)
	}
	found := 0
	for choice, err := range c.SearchAgents(ctx, api.ListAgentsParams{Workspace: "ws_client", Query: new("agt-0"), Limit: new(30)}) {
		if err != nil || !strings.HasPrefix(choice.ID, "agt-0") {
			t.Fatal(choice, err)
		}
		found++
	}
	if found != 100 {
		t.Errorf("%d agents match, want 100", found)
	}

	// Figures of days that are over do not change, so they are not sent again.
	closed := api.GetDashboardParams{Workspace: "ws_client", From: client.Day(2026, time.January, 1), To: client.Day(2026, time.January, 7)}
	first, err := c.Dashboard(ctx, closed)
	if err != nil || first.ETag == "" {
		t.Fatalf("got %+v, %v, want an ETag", first, err)
	}
	second, err := c.Dashboard(ctx, closed, client.IfNoneMatch(first.ETag))
	if err != nil || !second.NotModified || second.ETag != first.ETag {
		t.Errorf("got %+v, %v, want not modified since %s", second, err, first.ETag)
	}

	settings, err := c.Workspace(ctx, "ws_client")
	if err != nil || settings.Name != "Client" || settings.Seats == nil || *settings.Seats != 5 {
		t.Errorf("got %+v, %v", settings, err)
	}
	for _, remove := range []func() (api.DirectoryReceipt, error){
		func() (api.DirectoryReceipt, error) { return c.DeleteAgent(ctx, "ws_client", agent(7)) },
		func() (api.DirectoryReceipt, error) { return c.DeleteMember(ctx, "ws_client", "mem/1") },
	} {
		if receipt, err := remove(); err != nil || receipt.ChangedAt.Before(now) {
			t.Errorf("got %+v, %v", receipt, err)
		}
	}

	direct, err := client.New(i.endpoints.HTTP, client.WithToken(i.token("ws_client", "usage:read")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(direct.Close)
	link, err := direct.CreateSession(ctx, "")
	if err != nil || !strings.HasPrefix(link.URL, i.endpoints.HTTP+"/session/") {
		t.Errorf("got a link %.40s, %v", link.URL, err)
	}
	for code, ask := range map[string]func() error{
		"not_found": func() error { _, err := direct.Workspace(ctx, "ws_other"); return err },
		"too_many_bars": func() error {
			_, err := direct.Dashboard(ctx, api.GetDashboardParams{Workspace: "ws_client", Range: new(api.Preset90Days), Grain: new(api.GrainChoiceMinute)})
			return err
		},
		"scope_missing": func() error { _, err := direct.SendEvents(ctx, events[:1]); return err },
	} {
		err := ask()
		var p *client.Problem
		if !errors.As(err, &p) || p.Code != code || p.TraceID == "" || p.Type != "urn:agentmeter:problem:"+strings.ReplaceAll(code, "_", "-") {
			t.Errorf("got %v, want %s", err, code)
		}
		if p != nil && code == "too_many_bars" && (p.SuggestedGrain == nil || len(p.Errors) == 0) {
			t.Errorf("%+v does not say what would do", p)
		}
	}
}

func sumOf(t *testing.T, decimal string) schemas.CreditsSum {
	t.Helper()
	credits, err := schemas.ParseCredits(decimal)
	if err != nil {
		t.Fatal(err)
	}
	return schemas.SumOf(credits)
}

// discard is where an answer goes that gets lost.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) WriteHeader(int)             {}
func (discard) Write(p []byte) (int, error) { return io.Discard.Write(p) }

package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"agentmeter/client"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// The examples speak to a server that says what Agentmeter would.
func ExampleNew() {
	server := exampleServer()
	defer server.Close()

	c, err := client.New(server.URL,
		client.WithTokenSource(func(context.Context) (string, error) {
			return "a-token", nil // from wherever the platform keeps its tokens
		}),
		client.WithTimeout(10*time.Second),
		client.WithUserAgent("billing-export/1.4"),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	workspace, err := c.Workspace(context.Background(), "ws_acme")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(workspace.Name, workspace.Timezone)
	// Output: Acme Europe/Copenhagen
}

func ExampleClient_SendEvents() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(server.URL, client.WithToken("a-token"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	cost, err := schemas.ParseCredits("1.5")
	if err != nil {
		log.Fatal(err)
	}
	at := time.Date(2026, 11, 24, 9, 31, 47, 0, time.UTC)
	answer, err := c.SendEvents(context.Background(), []api.Event{
		{ID: "m-1", WorkspaceID: "ws_acme", AgentID: "agt_support", OccurredAt: at, Channel: "embed", Credits: cost},
		{ID: "m-2", WorkspaceID: "ws_acme", AgentID: "agt_support", OccurredAt: at, Channel: "embed", Credits: -cost},
	})
	if err != nil {
		log.Fatal(err) // nothing is known: send them again, an id counts once
	}
	fmt.Println("accepted:", answer.Accepted)
	for _, item := range answer.Rejected {
		fmt.Printf("event %d: %s\n", item.Index, item.Code)
	}
	// Output:
	// accepted: 1
	// event 1: credits_negative
}

func ExampleClient_Adjust() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(server.URL, client.WithToken("a-token"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	cost, err := schemas.ParseCredits("1.5")
	if err != nil {
		log.Fatal(err)
	}
	err = c.Adjust(context.Background(), api.Adjustment{
		ID: "refund-1", WorkspaceID: "ws_acme", AgentID: "agt_support", Reason: "the answer was cut off",
		EventID: new("m-1"), OccurredAt: time.Date(2026, 11, 24, 9, 31, 47, 0, time.UTC), Credits: -cost,
	})
	if err != nil {
		log.Fatal(err) // send it again, its id counts once
	}
	fmt.Println("adjusted by", -cost)
	// Output: adjusted by -1.5
}

func ExampleClient_PutAgent() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(server.URL, client.WithToken("a-token"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	receipt, err := c.PutAgent(context.Background(), "ws_acme", "agt_support", "Support Bot")
	if err != nil {
		log.Fatal(err) // state it again, which changes nothing
	}
	fmt.Println("called so from", receipt.ChangedAt.Format(time.TimeOnly))
	// Output: called so from 13:32:05
}

func ExampleClient_Dashboard() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(server.URL, client.WithToken("a-token"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	params := api.GetDashboardParams{Workspace: "ws_acme", Range: new(api.Preset30Days)}
	etag := ""
	for range 2 {
		answer, err := c.Dashboard(context.Background(), params, client.IfNoneMatch(etag))
		if err != nil {
			log.Fatal(err)
		}
		if answer.NotModified {
			fmt.Println("nothing new")
			continue
		}
		etag = answer.ETag
		fmt.Println(answer.Dashboard.Summary.Credits, "credits,", answer.Dashboard.Completeness)
	}
	// Output:
	// 12421.5 credits, complete
	// nothing new
}

func ExampleClient_AllAgents() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(server.URL, client.WithToken("a-token"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	for agent, err := range c.AllAgents(context.Background(), api.GetUsageAgentsParams{Workspace: "ws_acme", Range: new(api.PresetPeriod)}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(agent.Name, agent.Credits)
	}
	// Output:
	// Support Bot 12400
	// Sales 21.5
}

func ExampleClient_Breakdown() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(server.URL, client.WithToken("a-token"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	breakdown, err := c.Breakdown(context.Background(), api.GetBreakdownParams{Workspace: "ws_acme", By: api.ByChannel, Range: new(api.Preset30Days)})
	if err != nil {
		log.Fatal(err)
	}
	for _, item := range breakdown.Items {
		fmt.Println(item.Key, item.Credits)
	}
	fmt.Println("others", breakdown.Rest.Credits)
	// Output:
	// embed 12000
	// whatsapp 400
	// others 21.5
}

func ExampleClient_ExportRows() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(server.URL, client.WithToken("a-token"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	params := api.ExportUsageParams{Workspace: "ws_acme", From: client.Day(2026, time.November, 23), To: client.Day(2026, time.November, 24)}
	var total schemas.CreditsSum
	for row, err := range c.ExportRows(context.Background(), params) {
		if err != nil {
			log.Fatal(err) // what came before it is not the whole
		}
		if row.Credits == nil {
			log.Fatalf("%s is not known", row.Start)
		}
		credits, err := schemas.ParseCredits(*row.Credits)
		if err != nil {
			log.Fatal(err)
		}
		total = total.Plus(schemas.SumOf(credits))
	}
	fmt.Println(total)
	// Output: 12421.5
}

func ExampleClient_Live() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(server.URL, client.WithToken("a-token"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	for update, err := range c.Live(context.Background(), "ws_acme") {
		if err != nil {
			log.Fatal(err)
		}
		if update.Changed {
			fmt.Println("read the figures: counted through", update.CountedThrough.Format(time.TimeOnly))
			break // or go on, for as long as the program runs
		}
	}
	// Output: read the figures: counted through 13:32:05
}

func ExampleProblem() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(server.URL, client.WithToken("a-token"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	_, err = c.Workspace(context.Background(), "ws_other")
	var problem *client.Problem
	if errors.As(err, &problem) {
		fmt.Println(problem.Status, problem.Code)
	}
	// Output: 404 not_found
}

// exampleServer answers the examples' questions.
func exampleServer() *httptest.Server {
	mux := http.NewServeMux()
	json := func(pattern string, status int, body string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"1"`)
			if r.Header.Get("If-None-Match") == `"1"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			reply(w, status, body)
		})
	}
	json("GET /v1/workspaces/ws_acme", http.StatusOK, `{"id":"ws_acme","name":"Acme","timezone":"Europe/Copenhagen"}`)
	json("POST /v1/events", http.StatusAccepted, `{"accepted":1,"rejected":[{"index":1,"id":"m-2","code":"credits_negative","detail":"credits: is negative"}]}`)
	json("GET /v1/usage/dashboard", http.StatusOK, `{"summary":{"credits":"12421.5","messages":"7701"},"completeness":"complete"}`)
	json("POST /v1/adjustments", http.StatusAccepted, `{"accepted":1,"rejected":[]}`)
	json("PUT /v1/workspaces/ws_acme/agents/agt_support", http.StatusAccepted, `{"changed_at":"2026-11-24T13:32:05.118Z"}`)
	json("GET /v1/usage/breakdown", http.StatusOK, `{"items":[{"key":"embed","credits":"12000"},{"key":"whatsapp","credits":"400"}],"rest":{"credits":"21.5"}}`)
	mux.HandleFunc("GET /v1/usage/agents", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") == "" {
			reply(w, http.StatusOK, `{"agents":[{"id":"agt_support","name":"Support Bot","credits":"12400"}],"next_cursor":"next"}`)
			return
		}
		reply(w, http.StatusOK, `{"agents":[{"id":"agt_sales","name":"Sales","credits":"21.5"}],"next_cursor":null}`)
	})
	mux.HandleFunc("GET /v1/usage/export.csv", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/csv")
		fmt.Fprint(w, exportHeader, strings.Join([]string{
			"2026-11-23T00:00:00Z,2026-11-24T00:00:00Z,agt_support,Support Bot,12400,7700,final",
			"2026-11-24T00:00:00Z,2026-11-25T00:00:00Z,agt_sales,Sales,21.5,1,in_progress",
		}, "\n"), "\n")
	})
	mux.HandleFunc("GET /v1/usage/live", func(w http.ResponseWriter, r *http.Request) {
		say(w, "retry: 2000\n\nevent: watermark\ndata: {\"counted_through\":\"2026-11-24T13:32:05.118Z\",\"lag_seconds\":0.4,\"changed\":true}\n\n")
		<-r.Context().Done()
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { problem(w, http.StatusNotFound, "not_found") })
	return httptest.NewServer(mux)
}

package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"sort"
	"time"

	"agentmeter/schemas"
)

// dashboard is the part of the dashboard's answer that is held to the list.
type dashboard struct {
	Range struct {
		Start time.Time `json:"start"`
		End   time.Time `json:"end"`
	} `json:"range"`
	Summary struct {
		Credits  string `json:"credits"`
		Messages string `json:"messages"`
	} `json:"summary"`
	Series []struct {
		Start    time.Time `json:"start"`
		End      time.Time `json:"end"`
		State    string    `json:"state"`
		Credits  *string   `json:"credits"`
		Messages *string   `json:"messages"`
	} `json:"series"`
	Agents []struct {
		ID       string `json:"id"`
		Credits  string `json:"credits"`
		Messages string `json:"messages"`
	} `json:"agents"`
	AgentsTotal        int    `json:"agents_total"`
	PlaygroundMessages string `json:"playground_messages"`
}

// questions are asked about every workspace: whole months in UTC, and days,
// hours and the present day in zones whose edges are no UTC bucket's.
func questions(now time.Time) []url.Values {
	first := now.AddDate(0, -14, 0)
	return []url.Values{
		{"from": {first.Format(time.DateOnly)}, "to": {now.Format(time.DateOnly)}, "grain": {"month"}, "tz": {"UTC"}},
		{"range": {"30d"}, "grain": {"day"}, "tz": {"Asia/Kathmandu"}},
		{"range": {"7d"}, "grain": {"hour"}, "tz": {"Europe/Copenhagen"}},
		{"range": {"today"}, "tz": {"America/St_Johns"}},
	}
}

// compareAnswers holds the dashboard's figures, bar by bar and agent by agent,
// to the producers' list.
func (j *judge) compareAnswers(ctx context.Context, v *Verdict) error {
	events := make(map[schemas.WorkspaceID][]*schemas.Event)
	j.book.mu.Lock()
	for key := range j.first {
		e := &j.book.entries[key].event
		events[e.Workspace] = append(events[e.Workspace], e)
	}
	j.book.mu.Unlock()
	for i := range workspaces {
		workspace := workspaceName(i)
		for _, question := range questions(time.Now().UTC()) {
			question.Set("workspace", string(workspace))
			var content []byte
			address := "http://" + j.stack.addresses["query"] + "/v1/usage/dashboard?" + question.Encode()
			// A query service that was just restarted may refuse its first question.
			err := poll(ctx, "the dashboard's answer", 30*time.Second, func(ctx context.Context) error {
				return j.stack.get(ctx, address, &content)
			})
			if err != nil {
				return err
			}
			var answer dashboard
			if err := json.Unmarshal(content, &answer); err != nil {
				return fmt.Errorf("%s: %w", address, err)
			}
			for _, problem := range answer.differs(events[workspace]) {
				v.WrongAnswers++
				v.note("dashboard of %s, %s: %s", workspace, question.Encode(), problem)
			}
		}
	}
	return nil
}

// differs lists the figures that are not what the events come to.
func (d *dashboard) differs(events []*schemas.Event) []string {
	type sum struct{ credits, messages int64 }
	var total, playground sum
	bars := make([]sum, len(d.Series))
	agents := make(map[string]sum)
	add := func(s *sum, e *schemas.Event) {
		s.credits += int64(e.Credits)
		s.messages += e.Messages
	}
	for _, e := range events {
		if e.OccurredAt.Before(d.Range.Start) || !e.OccurredAt.Before(d.Range.End) {
			continue
		}
		if e.Playground() {
			add(&playground, e)
			continue
		}
		add(&total, e)
		agent := agents[string(e.Agent)]
		add(&agent, e)
		agents[string(e.Agent)] = agent
		bar := sort.Search(len(d.Series), func(i int) bool { return d.Series[i].End.After(e.OccurredAt) })
		if bar < len(bars) {
			add(&bars[bar], e)
		}
	}
	var problems []string
	check := func(what, credits, messages string, want sum) {
		got, err := creditsOf(credits)
		if err != nil || got.Cmp(big.NewInt(want.credits)) != 0 || messages != fmt.Sprint(want.messages) {
			problems = append(problems, fmt.Sprintf("%s: %s credits and %s messages, and should be %s and %d", what, credits, messages, schemas.Credits(want.credits), want.messages))
		}
	}
	check("summary", d.Summary.Credits, d.Summary.Messages, total)
	for i, bar := range d.Series {
		what := "bar of " + bar.Start.UTC().Format(time.RFC3339)
		if bar.Credits == nil || bar.Messages == nil {
			problems = append(problems, what+": "+bar.State)
			continue
		}
		check(what, *bar.Credits, *bar.Messages, bars[i])
	}
	if len(d.Agents) != len(agents) || d.AgentsTotal != len(agents) {
		problems = append(problems, fmt.Sprintf("%d agents listed, %d in total, and should be %d", len(d.Agents), d.AgentsTotal, len(agents)))
	}
	for _, agent := range d.Agents {
		check("agent "+agent.ID, agent.Credits, agent.Messages, agents[agent.ID])
	}
	if d.PlaygroundMessages != fmt.Sprint(playground.messages) {
		problems = append(problems, fmt.Sprintf("%s playground messages, and should be %d", d.PlaygroundMessages, playground.messages))
	}
	return problems
}

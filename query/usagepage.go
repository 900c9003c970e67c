package query

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"agentmeter/internal/httpapi"
	"agentmeter/query/page"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// How the Usage page looks is package page's. Its HTML has no figures in it; the pages
// that need no script have the same as the API, by the same code, written out as tables.

// getPage answers GET /w/{ws}/usage, the same for every workspace that there can
// be.
func (s *Service) getPage(w http.ResponseWriter, r *http.Request) {
	if schemas.ValidateWorkspaceID("ws", r.PathValue("ws")) != nil {
		httpapi.WriteError(w, r, httpapi.ErrNotFound)
		return
	}
	s.page.Index().ServeHTTP(w, r)
}

// DeniedPage is the page for people who may not see it: it says so in its own
// words and shows nothing. It is for the guard.
func (s *Service) DeniedPage(status int) http.Handler { return s.page.Denied(status) }

// noScriptRequest reads the address of a page. What the page with scripts keeps in
// its address beside the question is passed over, and what a form leaves empty; the
// rest is kept in the addresses that the page leads to.
func noScriptRequest(r *http.Request) (p *parameters, kept url.Values) {
	known := parametersOf[r.Pattern]
	kept = url.Values{}
	for name, values := range r.URL.Query() {
		if slices.Contains(known, name) && name != "workspace" && values[0] != "" {
			kept[name] = values
		}
	}
	if kept.Has("from") || kept.Has("to") {
		kept.Del("range") // dates that somebody filled in mean more than a list's choice
	}
	narrowed := r.Clone(r.Context())
	with := url.Values{"workspace": {r.PathValue("ws")}}
	for name, values := range kept {
		with[name] = values
	}
	narrowed.URL.RawQuery = with.Encode()
	return readParameters(narrowed), kept
}

// getFigures answers GET /w/{ws}/usage/figures.
func (s *Service) getFigures(w http.ResponseWriter, r *http.Request) {
	p, kept := noScriptRequest(r)
	u := p.readUsage(r)
	u.useHeld = true
	var f page.Figures
	f.NoScript = s.answerNoScript(w, r, p, u, kept, func(ctx context.Context, st *standing) error {
		q, err := st.barQuestion(u)
		if err != nil {
			return err
		}
		f.Data, err = s.dashboard(ctx, u, st, q, newReading(st, q, historyEdges(q, st.watermark)))
		return err
	})
	s.page.WriteFigures(w, r, f)
}

// getProof answers GET /w/{ws}/usage/proof.
func (s *Service) getProof(w http.ResponseWriter, r *http.Request) {
	p, kept := noScriptRequest(r)
	u := usageRequest{route: r.Pattern, workspace: p.workspace(), agent: p.agent(), asked: p.asked()}
	var f page.Proof
	f.NoScript = s.answerNoScript(w, r, p, u, kept, func(ctx context.Context, st *standing) (err error) {
		f.Data, err = s.reconciliationAnswer(ctx, u, st)
		return err
	})
	s.page.WriteProof(w, r, f)
}

// answerNoScript runs the answering of a page's question, and says all of the page
// but its data.
func (s *Service) answerNoScript(w http.ResponseWriter, r *http.Request, p *parameters, u usageRequest, kept url.Values, answer func(context.Context, *standing) error) page.NoScript {
	own := page.NoScript{Workspace: api.Workspace{ID: string(u.workspace), Name: string(u.workspace)}, Asked: kept}
	err := p.err()
	if err == nil {
		err = s.inTurn(r.Context(), s.config.QueryTimeout, func(ctx context.Context) error {
			st, err := s.standingOf(ctx, u)
			if err != nil {
				return err
			}
			own.Workspace, own.Zone = workspaceAnswer(string(u.workspace), st.settings.asOf(st.now)), st.zone
			if u.agent != "" {
				own.Agent = st.agentName(u.agent)
			}
			return answer(ctx, st)
		})
	}
	own.Problem = problemInWords(w, r, err)
	return own
}

// problemInWords is an error in a reader's words; nil is none.
func problemInWords(w http.ResponseWriter, r *http.Request, err error) *page.Problem {
	if err == nil {
		return nil
	}
	problem, trace := httpapi.BeginError(w, r, err)
	said := &page.Problem{Status: problem.Status, Trace: trace}
	for _, fault := range problem.Errors {
		if fault.Code == "end_before_start" {
			said.Reasons = append(said.Reasons, "End date is before start date.")
			continue
		}
		said.Reasons = append(said.Reasons, fault.Field+" "+fault.Detail+".")
	}
	if len(said.Reasons) == 0 && problem.Status < http.StatusInternalServerError {
		said.Reasons = []string{problem.Detail}
	}
	return said
}

package query

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"agentmeter/query/calendar"
	"agentmeter/schemas/api"
)

// faultsOf reads a query as the dashboard does.
func faultsOf(query string) []string {
	r := httptest.NewRequest(http.MethodGet, "/v1/usage/dashboard?"+query, http.NoBody)
	r.Pattern = "GET /v1/usage/dashboard"
	p := readParameters(r)
	p.readUsage(r)
	var faults []string
	for _, f := range p.faults {
		faults = append(faults, f.Field+" "+f.Code)
	}
	return faults
}

func TestEveryFaultIsNamedWithItsParameter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, query string
		want        []string
	}{
		{"nothing wrong", "workspace=ws_acme", nil},
		{"everything right", "workspace=ws_acme&range=7d&agent=agt_1&grain=hour&compare=prev_dow&tz=Asia/Kathmandu", nil},
		{"instants with an offset", "workspace=ws_acme&start=2026-11-24T09:00:00%2B01:00&end=2026-11-24T10:00:00Z", nil},
		{"no workspace", "", []string{"workspace workspace_missing"}},
		{"all workspaces", "workspace=*", []string{"workspace workspace_invalid"}},
		{"unknown preset", "workspace=w&range=14d", []string{"range range_unknown"}},
		{"empty preset", "workspace=w&range=", []string{"range range_unknown"}},
		{"bad date", "workspace=w&from=24.11.2026&to=2026-11-24", []string{"from from_invalid"}},
		{"no such date", "workspace=w&from=2026-02-29&to=2026-11-24", []string{"from from_invalid"}},
		{"one date", "workspace=w&from=2026-11-24", []string{"to to_missing"}},
		{"end before start", "workspace=w&from=2026-11-24&to=2026-11-23", []string{"to end_before_start"}},
		{"a year that is not kept", "workspace=w&from=1969-01-01&to=2026-11-23", []string{"from range_outside"}},
		{"end instant before start", "workspace=w&start=2026-11-24T10:00:00Z&end=2026-11-24T09:00:00Z", []string{"end end_before_start"}},
		{"empty instants", "workspace=w&start=2026-11-24T10:00:00Z&end=2026-11-24T10:00:00Z", []string{"end range_empty"}},
		{"not a whole minute", "workspace=w&start=2026-11-24T10:00:30Z&end=2026-11-24T11:00:00.5Z", []string{"start start_invalid", "end end_invalid"}},
		{"an offset whose plus was lost", "workspace=w&start=2026-11-24T10:00:00+01:00&end=2026-11-24T11:00:00Z", []string{"start start_invalid"}},
		{"preset and dates", "workspace=w&range=7d&from=2026-11-23&to=2026-11-24", []string{"range range_mixed"}},
		{"preset and instants", "workspace=w&range=7d&end=2026-11-24T10:00:00Z", []string{"range range_mixed"}},
		{"dates and instants", "workspace=w&from=2026-11-23&to=2026-11-24&end=2026-11-24T10:00:00Z", []string{"start range_mixed"}},
		{"unknown zone", "workspace=w&tz=Europe/Atlantis", []string{"tz tz_unknown"}},
		{"the machine's zone", "workspace=w&tz=Local", []string{"tz tz_unknown"}},
		{"unknown grain and comparison", "workspace=w&grain=year&compare=next", []string{"grain grain_unknown", "compare compare_unknown"}},
		{"empty agent", "workspace=w&agent=", []string{"agent agent_missing"}},
		{"long agent", "workspace=w&agent=" + strings.Repeat("a", 129), []string{"agent agent_invalid"}},
		{"a misspelt filter", "workspace=w&agents=agt_1", []string{"agents parameter_unknown"}},
		{"given twice", "workspace=w&agent=a&agent=b", []string{"agent parameter_repeated"}},
		{"a broken query", "workspace=w&x=%zz", []string{"query query_invalid"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := faultsOf(tt.query); !slices.Equal(got, tt.want) {
				t.Errorf("faults %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzParametersNeverPanic(f *testing.F) {
	f.Add("workspace=w&from=2026-11-23&to=2026-11-24&tz=Asia/Kathmandu")
	f.Add("workspace=w&start=2026-11-24T10:00:00Z&end=2026-11-24T11:00:00Z&grain=minute")
	f.Add("range=period&agent=%00&x=%zz;a=b")
	f.Fuzz(func(t *testing.T, query string) {
		r := &http.Request{URL: &url.URL{Path: "/v1/usage/dashboard", RawQuery: query}, Pattern: "GET /v1/usage/dashboard"}
		p := readParameters(r)
		u := p.readUsage(r)
		p.limit()
		if p.err() != nil {
			return
		}
		zone := u.asked.zone
		if zone == nil {
			zone, _ = calendar.LoadZone("UTC")
		}
		got, err := u.asked.resolve(frozen, zone, 31)
		if err != nil {
			return
		}
		if got.Empty() {
			t.Fatalf("%q is a range without an instant", query)
		}
		if _, edges, err := cutIntoBars(got, u.grain); err == nil && (len(edges) < 2 || len(edges) > maxBars+1) {
			t.Fatalf("%q has %d edges", query, len(edges))
		}
	})
}

func TestFaultsAreAnsweredWithAProblemDocument(t *testing.T) {
	w := newWorld(t)
	s := w.serve(t, frozen, DefaultConfig())
	tests := []struct {
		name, path, code string
		fields           []string
		grain            api.Grain
	}{
		{"two faults", "/v1/usage/dashboard?workspace=w&range=14d&tz=Mars", "parameter_invalid", []string{"tz", "range"}, ""},
		{"the generated code's", "/v1/usage/dashboard?range=14d", "parameter_invalid", []string{"workspace", "range"}, ""},
		{"a time that is none", "/v1/usage/dashboard?workspace=w&start=yesterday&end=today", "parameter_invalid", []string{"start", "end"}, ""},
		{"too many minutes", "/v1/usage/dashboard?workspace=w&range=30d&grain=minute", "too_many_bars", []string{"grain"}, api.GrainDay},
		{"too many hours", "/v1/usage/agents?workspace=w&range=30d&grain=hour", "too_many_bars", []string{"grain"}, api.GrainDay},
		{"too many months", "/v1/usage/dashboard?workspace=w&from=1970-01-01&to=2026-01-01", "too_many_bars", []string{"grain"}, ""},
		{"a day that the zone left out", "/v1/usage/dashboard?workspace=w&from=2011-12-30&to=2011-12-30&tz=Pacific/Apia", "parameter_invalid", []string{"to"}, ""},
		{"no by", "/v1/usage/breakdown?workspace=w", "parameter_invalid", []string{"by"}, ""},
		{"unknown by", "/v1/usage/breakdown?workspace=w&by=agent", "parameter_invalid", []string{"by"}, ""},
		{"a grain where there are no bars", "/v1/usage/reconcile?workspace=w&grain=day", "parameter_invalid", []string{"grain"}, ""},
		{"limit", "/v1/agents?workspace=w&limit=0", "parameter_invalid", []string{"limit"}, ""},
		{"limit that is no number", "/v1/agents?workspace=w&limit=many", "parameter_invalid", []string{"limit"}, ""},
		{"sort", "/v1/usage/agents?workspace=w&sort=age", "parameter_invalid", []string{"sort"}, ""},
		{"cursor", "/v1/usage/agents?workspace=w&cursor=abc", "parameter_invalid", []string{"cursor"}, ""},
		{"long search", "/v1/agents?workspace=w&query=" + strings.Repeat("a", 257), "parameter_invalid", []string{"query"}, ""},
		{"csv", "/v1/usage/export.csv?workspace=w&from=2026-11-24&to=2026-11-01", "parameter_invalid", []string{"to"}, ""},
		{"live", "/v1/usage/live?workspace=w&agent=a", "parameter_invalid", []string{"agent"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			response, body := s.get(t, tt.path)
			if response.StatusCode != http.StatusBadRequest {
				t.Fatalf("%d %s, want 400", response.StatusCode, body)
			}
			var problem api.Problem
			if err := json.Unmarshal(body, &problem); err != nil {
				t.Fatal(err)
			}
			var fields []string
			for _, f := range problem.Errors {
				fields = append(fields, f.Field)
			}
			slices.Sort(fields)
			want := slices.Sorted(slices.Values(tt.fields))
			if problem.Code != tt.code || !slices.Equal(fields, want) {
				t.Errorf("%s about %q, want %s about %q: %s", problem.Code, fields, tt.code, want, body)
			}
			if grain := problem.SuggestedGrain; (grain == nil) != (tt.grain == "") || grain != nil && *grain != tt.grain {
				t.Errorf("suggested grain of %s, want %q", body, tt.grain)
			}
		})
	}
}

// FuzzIfNoneMatch reads whatever it is as the tags that somebody knows.
func FuzzIfNoneMatch(f *testing.F) {
	own := answerTag{"version", "moment"}
	f.Add(own.String())
	f.Add(`W/"version.other" , "x", *`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, header string) {
		tag := own.matching(header)
		if tag != "" && !strings.Contains(header, "*") && !strings.Contains(header, tag) {
			t.Errorf("%q matches %q", header, tag)
		}
	})
}

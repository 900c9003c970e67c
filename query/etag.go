package query

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/ClickHouse/ch-go/proto"

	"agentmeter/schemas"
)

// entityTag names the answer to a question about a closed interval without
// reading its figures. It is read before them, so that an answer is never
// older than its tag.
//
// It covers everything in the answer but how fresh the ledger is (which moves
// all the time and makes no figure of a closed interval different) and, where
// all agents are asked for and there is usage in the interval, when the last
// usage was. Therefore it is a
// weak tag: two answers with one tag say the same, in bytes that may differ.
// Whoever sees 304 knows that every figure still holds.
func (s *Service) entityTag(ctx context.Context, u usageRequest, st *standing, q question, r *reading) (string, error) {
	version := struct {
		Request    usageRequestKey
		Start, End int64
		Compared   [2]int64
		Edges      []int64
		Sums       fingerprint
		Directory  [2]int64
		Settings   []int64
		Build      string
	}{
		Request: usageRequestKey{u.workspace, u.agent, string(u.asked.preset), u.asked.dates, st.zone.String(), string(q.grain), string(u.compare)},
		Start:   q.interval.Start.Unix(), End: q.interval.End.Unix(),
		Directory: st.directory.version(q.now),
		Build:     buildID(),
	}
	for _, edge := range q.edges { // they depend on the zone database too
		version.Edges = append(version.Edges, edge.Unix())
	}
	if c := q.comparison; c != nil {
		version.Compared = [2]int64{c.Start.Unix(), c.End.Unix()}
	}
	for _, held := range st.settings {
		if !held.validFrom.After(q.now) {
			version.Settings = append(version.Settings, held.validFrom.UnixMicro(), held.change)
		}
	}
	if r.held {
		version.Sums = r.fingerprint(q)
	} else {
		var err error
		if version.Sums, err = s.fingerprintOf(ctx, u.route, q); err != nil {
			return "", err
		}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", version))
	return `W/"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`, nil
}

// fingerprint changes whenever something that an answer is made of does.
type fingerprint struct {
	Credits          string // before the interval's end, as are the next two
	Messages, Events int64
	Playground       int64
	Everything       int64 // events at any time, where the last usage is of interest
	// Totals, where they were read, are what was used before each edge of the
	// question's bars, instead of the sums before the interval's end.
	Totals []string
}

func (s *Service) fingerprintOf(ctx context.Context, route string, q question) (fingerprint, error) {
	var (
		spent                                         proto.ColInt128
		answered, recorded, within, everything, tests proto.ColInt64
		out                                           fingerprint
	)
	// Whole hours: an event after the end changes the tag for nothing, which is
	// only a 304 less.
	params := map[string]string{
		"workspace": string(q.workspace),
		"start":     unix(schemas.StepHour.Floor(q.interval.Start)),
		"end":       unix(schemas.StepHour.Ceil(q.interval.End)),
	}
	err := s.read(ctx, route, "fingerprint", render("fingerprint", nil), params, proto.Results{
		{Name: "spent", Data: &spent},
		{Name: "answered", Data: &answered},
		{Name: "recorded", Data: &recorded},
		{Name: "within", Data: &within},
		{Name: "everything", Data: &everything},
		{Name: "tests", Data: &tests},
	}, func(int) {
		out = fingerprint{
			Credits: creditsOf(spent[0]).String(), Messages: answered[0], Events: recorded[0], Playground: tests[0],
		}
		if within[0] == 0 || q.agent != "" {
			// The last usage is shown where the interval is empty, as it may be for
			// one agent though it is not for the workspace.
			out.Everything = everything[0]
		}
	})
	return out, err
}

// usageRequestKey is what of a request the answer depends on beside the
// interval.
type usageRequestKey struct {
	Workspace schemas.WorkspaceID
	Agent     string
	Preset    string
	Dates     bool
	Zone      string
	Grain     string
	Compare   string
}

// buildID names the program: another one may say the same figures otherwise.
var buildID = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	id := info.GoVersion + " " + info.Main.Version
	for _, setting := range info.Settings {
		if strings.HasPrefix(setting.Key, "vcs.") {
			id += " " + setting.Value
		}
	}
	return id
})

// tagMatches reads an If-None-Match header by weak comparison.
func tagMatches(header, tag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

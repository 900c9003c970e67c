package query

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"

	"agentmeter/schemas"
)

// entityTag names the answer to a question about a closed interval without
// reading its figures. It is read before them, so that an answer is never
// older than its tag.
//
// It covers everything in the answer but how fresh the ledger is (which moves
// all the time and makes no figure of a closed interval different) and, where
// there is usage in the interval, when the last usage was. Therefore it is a
// weak tag: two answers with one tag say the same, in bytes that may differ.
// Whoever sees 304 knows that every figure still holds.
func (s *Service) entityTag(ctx context.Context, u usageRequest, st *standing, q question) (string, error) {
	type sums struct {
		Credits          string
		Messages, Events int64
	}
	version := struct {
		Request    usageRequestKey
		Start, End int64
		Compared   [2]int64
		Edges      []int64
		Sums       []sums
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
	b := newBuilder(q.workspace, "")
	// Whole hours: an event after the end changes the tag for nothing, which is
	// only a 304 less.
	b.params["start"] = unix(schemas.StepHour.Floor(q.interval.Start))
	b.params["end"] = unix(schemas.StepHour.Ceil(q.interval.End))
	parts := make([]tally, 3)
	err := s.readRows(ctx, u.route, "fingerprint", b, render("fingerprint", nil), func(r row) {
		parts[r.part].add(r.tally)
	})
	if err != nil {
		return "", err
	}
	if everything := &parts[1]; everything.events > 0 {
		everything.messages = 0 // the last usage is shown where the interval is empty
	}
	for _, t := range parts {
		version.Sums = append(version.Sums, sums{t.credits.String(), t.messages, t.events})
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", version))
	return `W/"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`, nil
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

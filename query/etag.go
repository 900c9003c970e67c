package query

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"

	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// entityTag names an answer: its version, which says that every figure and name
// in it still holds, and the moment, which tells two answers of one version
// apart. So it is a strong tag: no two answers that differ in a byte have the
// same. Whoever comes back with a tag of the same version is told that nothing
// has changed; how far has been counted by then stands in a header of its own.
//
// It is found without reading a figure, from what the workspace used between
// the edges of the bars (see heldFigures on why that is enough) and the
// Playground tests, which r must know.
func entityTag(u usageRequest, st *standing, q question, r *reading) answerTag {
	h := sha256.New()
	version := struct {
		Request    usageRequestKey
		Start, End int64
		Compared   [2]int64
		Edges      []int64 // they depend on the zone database too
		States     []api.BarState
		Complete   api.Completeness
		Unknown    bool // whether counted_through is
		Directory  [2]int64
		Settings   []int64
		Build      string
	}{
		Request: usageRequestKey{u.workspace, u.agent, string(u.asked.preset), u.asked.dates, st.zone.String(), string(q.grain), string(u.compare)},
		Start:   q.interval.Start.Unix(), End: q.interval.End.Unix(),
		Complete:  st.watermark.completeness(q.interval, q.now),
		Unknown:   st.watermark.countedThrough.IsZero(),
		Directory: st.directory.version(q.now),
		Build:     buildID(),
	}
	for i, edge := range q.edges {
		version.Edges = append(version.Edges, edge.Unix())
		if i < q.bars() {
			version.States = append(version.States, st.watermark.state(q.bar(i), q.now))
		}
	}
	if c := q.comparison; c != nil {
		version.Compared = [2]int64{c.Start.Unix(), c.End.Unix()}
	}
	for _, own := range st.settings {
		if !own.validFrom.After(q.now) {
			version.Settings = append(version.Settings, own.validFrom.UnixMicro(), own.change)
		}
	}
	fmt.Fprintf(h, "%#v", version)
	r.hashInto(h, q)
	sum := h.Sum(nil)
	moment := fmt.Sprintf("%d %s %d", q.now.UnixNano(), st.watermark.snapshot, st.watermark.countedThrough.UnixNano())
	momentSum := sha256.Sum256([]byte(moment))
	return answerTag{base64.RawURLEncoding.EncodeToString(sum[:18]), base64.RawURLEncoding.EncodeToString(momentSum[:9])}
}

// answerTag is an entity tag.
type answerTag struct {
	version, moment string
}

func (e answerTag) String() string { return `"` + e.version + "." + e.moment + `"` }

// matching returns the tag of an If-None-Match header that names an answer of
// the same version, or "".
func (e answerTag) matching(header string) string {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" {
			return e.String()
		}
		opaque, quoted := strings.CutPrefix(strings.TrimPrefix(candidate, "W/"), `"`)
		if version, _, found := strings.Cut(opaque, "."); quoted && found && strings.HasSuffix(opaque, `"`) && version == e.version {
			return strings.TrimPrefix(candidate, "W/")
		}
	}
	return ""
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

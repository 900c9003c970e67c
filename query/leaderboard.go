package query

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/big"
	"net/http"
	"slices"
	"strings"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// maxLeaderboard is how many agents the dashboard's answer holds.
const maxLeaderboard = 100

// maxSeriesAgents is how many agents a bar tells apart.
const maxSeriesAgents = 7

// GetUsageAgents answers GET /v1/usage/agents: the leaderboard, page by page.
func (s *Service) GetUsageAgents(w http.ResponseWriter, r *http.Request, _ api.GetUsageAgentsParams) {
	p := readParameters(r)
	u := p.readUsage(r)
	u.figures = true
	sort := oneOf(p, "sort", api.SortCredits, api.SortCredits, api.SortMessages, api.SortName, api.SortCreditsPerMessage, api.SortChange)
	order := oneOf(p, "order", defaultOrder(sort), api.Ascending, api.Descending)
	limit := p.limit()
	fingerprint := fingerprintOf(u.route, u.workspace, u.agent, u.asked.String(), u.grain, u.compare, sort, order)
	from, err := p.cursor(fingerprint)
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	s.serve(w, u.explained(r), s.config.QueryTimeout, func(ctx context.Context) error {
		st, q, err := s.standingAndQuestion(ctx, u)
		if err != nil {
			return err
		}
		f, err := s.usageOf(ctx, u.route, q, st)
		if err != nil {
			return err
		}
		rows := f.sorted(sort, order, func(agent string) string {
			name, _ := st.directory.describe(agent, q.now)
			return name
		})
		if from != nil {
			rows = after(rows, *from, sort, order)
		}
		answer := api.UsageAgentsPage{
			Range:        st.rangeAnswer(u, q.grain),
			Agents:       make([]api.AgentUsage, 0, limit),
			AgentsTotal:  int64(len(f.agents)),
			Freshness:    st.watermark.freshness(q.now),
			Completeness: st.watermark.completeness(q.interval, q.now),
		}
		if len(rows) > limit {
			rows = rows[:limit]
			next := rows[limit-1].encode(fingerprint)
			answer.NextCursor = &next
		}
		for _, a := range rows {
			answer.Agents = append(answer.Agents, a.row(q, st.directory, a.share))
		}
		answer.Explain = explanationFrom(ctx).answer()
		s.metrics.answers.WithLabelValues(u.route, string(answer.Completeness)).Inc()
		w.Header().Set("Cache-Control", "private, no-cache")
		writeAnswer(ctx, w, r, answer)
		return nil
	})
}

// shares returns the agents' shares of their sum, in their order.
func (f *figures) shares() []string {
	amounts := make([]schemas.CreditsSum, len(f.agents))
	for i, a := range f.agents {
		amounts[i] = a.total.credits
	}
	return sharesOf(amounts)
}

// row describes one agent of the leaderboard.
func (a *agentUsage) row(q question, d directory, share string) api.AgentUsage {
	out := api.AgentUsage{
		ID:       a.id,
		Credits:  a.total.credits.String(),
		Messages: count(a.total.messages),
		Share:    share,
		Spark:    make([]string, q.bars()),
	}
	out.Name, out.Deleted = d.describe(a.id, q.now)
	if q.comparison != nil {
		credits, messages := a.previous.credits.String(), count(a.previous.messages)
		out.PreviousCredits, out.PreviousMessages = &credits, &messages
	}
	for i := range out.Spark {
		out.Spark[i] = "0"
	}
	for _, own := range a.bars {
		out.Spark[own.bar] = own.credits.String()
	}
	return out
}

// seriesAgents returns, for each bar, what the range's first seven agents used
// in it and what the others did together.
func (f *figures) seriesAgents() [][]api.BarAgent {
	out := make([][]api.BarAgent, len(f.bars))
	others := make([]tally, len(f.bars))
	otherAgents := make([]int64, len(f.bars))
	for rank, a := range f.agents {
		for _, own := range a.bars {
			if rank >= maxSeriesAgents {
				others[own.bar].add(own.tally)
				otherAgents[own.bar]++
				continue
			}
			out[own.bar] = append(out[own.bar], api.BarAgent{
				ID: &a.id, Credits: own.credits.String(), Messages: count(own.messages),
			})
		}
	}
	for i := range out {
		if otherAgents[i] > 0 {
			out[i] = append(out[i], api.BarAgent{
				Others: &otherAgents[i], Credits: others[i].credits.String(), Messages: count(others[i].messages),
			})
		} else if out[i] == nil {
			out[i] = []api.BarAgent{}
		}
	}
	return out
}

// ranked is an agent with what the leaderboard can be sorted by.
type ranked struct {
	*agentUsage
	share string
	place
}

// place is where an agent stands in a sorted leaderboard, and is all that a
// cursor has to remember: the page after it begins with the first agent that
// comes later, whatever has been counted in between.
type place struct {
	// Fingerprint is of what was asked, which the page after it has to ask, too: the
	// place would be anywhere in another answer.
	Fingerprint uint64             `json:"q"`
	Credits     schemas.CreditsSum `json:"-"`
	Previous    schemas.CreditsSum `json:"-"`
	Messages    int64              `json:"m"`
	Name        string             `json:"n,omitempty"`
	ID          string             `json:"i"`

	// The sums as JSON carries them, in millionths.
	CreditsText  string `json:"c"`
	PreviousText string `json:"p"`
}

// compare orders two places: by what is sorted by, the largest first or A to
// Z, then by credits, messages and id, so that no two are equal.
func (p place) compare(other place, sort api.AgentSort, order api.SortOrder) int {
	var by int
	switch sort {
	case api.SortMessages:
		by = cmp.Compare(other.Messages, p.Messages)
	case api.SortName:
		by = cmp.Compare(folded(p.Name), folded(other.Name))
	case api.SortCreditsPerMessage:
		by = compareQuotients(other.Credits, big.NewInt(other.Messages), p.Credits, big.NewInt(p.Messages))
	case api.SortChange:
		by = compareQuotients(other.Credits.Minus(other.Previous), other.Previous.Big(), p.Credits.Minus(p.Previous), p.Previous.Big())
	default:
		by = other.Credits.Cmp(p.Credits)
	}
	if order != defaultOrder(sort) {
		by = -by
	}
	return cmp.Or(by, other.Credits.Cmp(p.Credits), cmp.Compare(other.Messages, p.Messages), cmp.Compare(p.ID, other.ID))
}

func defaultOrder(sort api.AgentSort) api.SortOrder {
	if sort == api.SortName {
		return api.Ascending
	}
	return api.Descending
}

// compareQuotients orders a/b and c/d. Something over nothing is more than any
// number and nothing over nothing less than any, in the order of the
// numerators.
func compareQuotients(a schemas.CreditsSum, b *big.Int, c schemas.CreditsSum, d *big.Int) int {
	class := func(numerator schemas.CreditsSum, denominator *big.Int) int {
		switch {
		case denominator.Sign() > 0:
			return 0
		case numerator.Sign() > 0:
			return 1
		default:
			return -1
		}
	}
	x, y := class(a, b), class(c, d)
	if x != y || x != 0 {
		return cmp.Or(cmp.Compare(x, y), a.Cmp(c))
	}
	return new(big.Int).Mul(a.Big(), d).Cmp(new(big.Int).Mul(c.Big(), b))
}

// sorted returns the leaderboard in an order.
func (f *figures) sorted(sort api.AgentSort, order api.SortOrder, nameOf func(string) string) []ranked {
	shares := f.shares()
	all := make([]ranked, len(f.agents))
	for i, a := range f.agents {
		all[i] = ranked{agentUsage: a, share: shares[i], place: place{
			Credits: a.total.credits, Previous: a.previous.credits, Messages: a.total.messages, ID: a.id,
		}}
		if sort == api.SortName {
			all[i].Name = nameOf(a.id)
		}
	}
	slices.SortFunc(all, func(a, b ranked) int { return a.compare(b.place, sort, order) })
	return all
}

// encode makes the cursor that leads to what comes after the place.
func (p place) encode(fingerprint uint64) string {
	p.Fingerprint = fingerprint
	p.CreditsText, p.PreviousText = p.Credits.Big().String(), p.Previous.Big().String()
	text, err := json.Marshal(p)
	if err != nil {
		panic("query: encode cursor: " + err.Error()) // strings and a number
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// maxCursorRunes is how long a cursor may be. It holds a name and an id, which JSON
// and base64 make some eight times as long as they have characters.
const maxCursorRunes = 4096

// fingerprintOf tells what was asked apart, by all that decides which rows there are and
// in which order.
func fingerprintOf(parts ...any) uint64 {
	h := fnv.New64a()
	for _, part := range parts {
		fmt.Fprintf(h, "%q\n", fmt.Sprint(part)) // quoted, so that no two run together
	}
	return h.Sum64()
}

// cursor reads where the page before ended; nil: this is the first. It is read last,
// and the error is that of all parameters.
func (p *parameters) cursor(fingerprint uint64) (*place, error) {
	cursor := p.text("cursor", maxCursorRunes)
	if err := p.err(); err != nil || cursor == "" {
		return nil, err
	}
	from, err := decodePlace(cursor, fingerprint)
	if err != nil {
		return nil, err
	}
	return &from, nil
}

// decodePlace reads a cursor, which has to be of what is asked now.
func decodePlace(cursor string, fingerprint uint64) (place, error) {
	var p place
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	credits, ok := new(big.Int).SetString(p.CreditsText, 10)
	previous, alsoOK := new(big.Int).SetString(p.PreviousText, 10)
	if err != nil || !ok || !alsoOK || credits.BitLen() > 126 || previous.BitLen() > 126 {
		return p, httpapi.InvalidParameter("cursor", "cursor_invalid", "is not a next_cursor of an answer")
	}
	if p.Fingerprint != fingerprint {
		return p, httpapi.InvalidParameter("cursor", "cursor_mismatch",
			"belongs to another question: a range, filter, sort or order that is not this one's; ask without it for the first page, and leave the rest as it is for the next ones")
	}
	p.Credits, p.Previous = schemas.SumFromBig(credits), schemas.SumFromBig(previous)
	return p, nil
}

// after returns the rows of a sorted leaderboard that come after a place.
func after(all []ranked, from place, sort api.AgentSort, order api.SortOrder) []ranked {
	i, found := slices.BinarySearchFunc(all, from, func(r ranked, from place) int { return r.compare(from, sort, order) })
	if found {
		i++
	}
	return all[i:]
}

// folded is a name without case, accents and what else does not matter when
// people look for it.
func folded(name string) string {
	return strings.ToLower(unaccented(name))
}

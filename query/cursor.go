package query

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/big"
	"slices"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

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

// maxCursorRunes is how long a cursor may be. It holds a name and an id, which JSON
// and base64 make some eight times as long as they have characters.
const maxCursorRunes = 4096

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

// after returns those of sorted rows that come after a place, or all if there is none.
func after[R interface {
	compare(other place, sort api.AgentSort, order api.SortOrder) int
}](rows []R, from *place, sort api.AgentSort, order api.SortOrder) []R {
	if from == nil {
		return rows
	}
	i, found := slices.BinarySearchFunc(rows, *from, func(r R, from place) int { return r.compare(from, sort, order) })
	if found {
		i++
	}
	return rows[i:]
}

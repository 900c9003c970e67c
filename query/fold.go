package query

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// folded is a name without case, accents and what else does not matter when
// people look for it.
func folded(name string) string {
	return strings.ToLower(unaccented(name))
}

// unaccented takes the marks off letters: é becomes e, and a ligature or a
// full-width letter what it is made of.
func unaccented(text string) string {
	ascii := true
	for i := range len(text) {
		if text[i] >= 0x80 {
			ascii = false
			break
		}
	}
	if ascii {
		return text
	}
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFKD.String(text))
}

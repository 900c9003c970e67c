package schemas

import (
	"strings"
	"unicode/utf8"
)

// cellMark stands before a cell's text that a spreadsheet must not take for more
// than text. Spreadsheets do not show it.
const cellMark = "'"

// marked are what a text begins with that has the mark before it: what makes a
// formula of it, of which some spreadsheets take the full-width ones as well, and
// the mark itself, so that it can be told whether there is one.
const marked = "=+-@\t\r＝＋－＠" + cellMark

// GuardedCell is a text as it stands in a cell of a CSV file, which no spreadsheet
// runs as a formula.
func GuardedCell(text string) string {
	if beginsMarked(text) {
		return cellMark + text
	}
	return text
}

// UnguardedCell is the text that GuardedCell made a cell of.
func UnguardedCell(cell string) string {
	if text, found := strings.CutPrefix(cell, cellMark); found && beginsMarked(text) {
		return text
	}
	return cell
}

func beginsMarked(text string) bool {
	first, size := utf8.DecodeRuneInString(text)
	return size > 0 && strings.ContainsRune(marked, first)
}

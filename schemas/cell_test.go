package schemas

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestWhatASpreadsheetWouldRunIsGuarded(t *testing.T) {
	for text, want := range map[string]string{
		"=1": "'=1", "+1": "'+1", "-1": "'-1", "@a": "'@a", "\ta": "'\ta", "\ra": "'\ra",
		"＝1": "'＝1", "＋1": "'＋1", "－1": "'－1", "＠a": "'＠a",
		"'": "''", "'=1": "''=1", "'tis": "''tis",
		"": "", "a": "a", "a=1": "a=1", "ä": "ä", "１": "１", "\xff=": "\xff=",
	} {
		if got := GuardedCell(text); got != want {
			t.Errorf("GuardedCell(%q) is %q, want %q", text, got, want)
		}
	}
}

func TestACellIsReadAsItWasWritten(t *testing.T) {
	beginning := rapid.StringOfN(rapid.SampledFrom([]rune("'=+-@\t\r＝＋－＠a1ä")), 0, 4, -1)
	rapid.Check(t, func(t *rapid.T) {
		text := beginning.Draw(t, "beginning") + rapid.String().Draw(t, "rest")
		cell := GuardedCell(text)
		if got := UnguardedCell(cell); got != text {
			t.Fatalf("%q is read from %q, which %q was written as", got, cell, text)
		}
		if strings.HasPrefix(cell, "=") || strings.HasPrefix(cell, "＝") {
			t.Fatalf("%q is run as a formula", cell)
		}
	})
}

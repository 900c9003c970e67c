package page

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestContrastIsThatOfTheGuidelines(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want float64
	}{
		{"#000000", "#ffffff", 21}, {"#ffffff", "#ffffff", 1}, {"#777777", "#ffffff", 4.48}, {"#0000ff", "#ffffff", 8.59}, {"#ff0000", "#000000", 5.25},
	} {
		if got := contrast(mustColour(tt.a), mustColour(tt.b)); math.Abs(got-tt.want) > 0.005 {
			t.Errorf("%s on %s: %.3f, want %.2f", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestAnAccentThatCannotBeReadIsRefusedWithOneThatCan(t *testing.T) {
	for _, tt := range []struct {
		options Options
		want    string
	}{
		{Options{Accent: "#ffcc00"}, "--page-accent: #ffcc00 has a contrast of 1.41:1 against the page's ground #f6f7f9, and text needs 4.5:1; choose a darker colour, such as #"},
		{Options{AccentDark: "#3352d8"}, "--page-accent-dark: #3352d8 has a contrast of 2.59:1 "},
		{Options{AccentDark: "#3352d8"}, "against the page's ground #1c2028, and text needs 4.5:1; choose a lighter colour, such as #"},
		{Options{Accent: "blue"}, `--page-accent: "blue" is no colour; give one as #rrggbb, such as #3352d8`},
		{Options{Accent: "#12345g"}, `is no colour`},
		{Options{Accent: "#é234"}, `is no colour`},
		{Options{AccentDark: "3352d8"}, `--page-accent-dark: "3352d8" is no colour`},
		{Options{TimeFormat: "13h"}, `--page-time-format: "13h" is none of auto, 12h and 24h`},
	} {
		err := tt.options.Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.options, err, tt.want)
			continue
		}
		if match := regexp.MustCompile(`such as (#[0-9a-f]{6})$`).FindStringSubmatch(err.Error()); match != nil && !strings.Contains(tt.want, "no colour") {
			remedy := tt.options
			if remedy.Accent != "" {
				remedy.Accent = match[1]
			} else {
				remedy.AccentDark = match[1]
			}
			if err := remedy.Validate(); err != nil {
				t.Errorf("the remedy will not do: %v", err)
			}
		}
	}
}

// Whatever accent is taken, it is read on every ground that it stands on, and so is what stands on it.
func TestWhatIsTakenCanBeRead(t *testing.T) {
	taken := 0
	for r := 0; r < 256; r += 15 {
		for g := 0; g < 256; g += 15 {
			for b := 0; b < 256; b += 15 {
				accent := colour{uint8(r), uint8(g), uint8(b)}.String()
				for _, m := range []mode{lightMode, darkMode} {
					if m.check(accent) != nil {
						continue
					}
					taken++
					own, ground, text := m.use(accent)
					for what, pair := range map[string][2]colour{
						"text on it": {text, own}, "it on what is chosen": {own, ground}, "quiet text on what is chosen": {m.soft, ground},
					} {
						if got := contrast(pair[0], pair[1]); got < textContrast {
							t.Fatalf("%s %s: %s has %.2f:1", m.flag, accent, what, got)
						}
					}
				}
			}
		}
	}
	if taken < 1000 {
		t.Errorf("only %d accents are taken", taken)
	}
}

func TestTheColoursAreThoseOfTheTheme(t *testing.T) {
	theme, err := os.ReadFile("src/styles/theme.css")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]colour{
		"ground": {lightMode.grounds[0], darkMode.grounds[0]}, "surface": {lightMode.grounds[1], darkMode.grounds[1]},
		"raised": {lightMode.raised, darkMode.raised}, "soft": {lightMode.soft, darkMode.soft},
		"accent": {lightMode.accent, darkMode.accent}, "accent-ground": {lightMode.accentGround, darkMode.accentGround},
		"on-accent": {lightMode.onAccent, darkMode.onAccent},
	} {
		if line := fmt.Sprintf("--%s: light-dark(%s, %s);", name, want[0], want[1]); !strings.Contains(string(theme), line) {
			t.Errorf("src/styles/theme.css has no %q", line)
		}
	}
}

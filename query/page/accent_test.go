package page

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
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
		{Options{Accent: "#ffcc00"}, "--page-accent: #ffcc00 has a contrast of 1.33:1 against the page's ground #eff1f4, and text needs 4.5:1; choose a darker colour, such as #"},
		{Options{AccentDark: "#3352d8"}, "--page-accent-dark: #3352d8 has a contrast of 2.46:1 "},
		{Options{AccentDark: "#3352d8"}, "against the page's ground #2c2310, and text needs 4.5:1; choose a lighter colour, such as #"},
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

// Links stand in tables' heads and in notices, too, not only on the page and its cards.
func TestAnAccentIsReadOnEveryGroundThatCarriesIt(t *testing.T) {
	for _, m := range []mode{lightMode, darkMode} {
		if len(m.grounds) != len(groundNames) {
			t.Fatalf("%s: %d grounds, want %d", m.flag, len(m.grounds), len(groundNames))
		}
		if err := m.check(m.accent.String()); err != nil {
			t.Errorf("the page's own: %v", err)
		}
	}
	for _, tt := range []struct {
		mode   mode
		accent string
		onlyOn []string
	}{
		{lightMode, "#707070", []string{"sunken", "bad-ground"}},
		{darkMode, "#878787", []string{"sunken", "warn-ground", "bad-ground"}},
		{darkMode, "#8a8a8a", []string{"warn-ground"}},
	} {
		var unread []string
		for i, ground := range tt.mode.grounds {
			if contrast(mustColour(tt.accent), ground) < textContrast {
				unread = append(unread, groundNames[i])
			}
		}
		if !slices.Equal(unread, tt.onlyOn) {
			t.Errorf("%s %s is not read on %q, want %q", tt.mode.flag, tt.accent, unread, tt.onlyOn)
		}
		if tt.mode.check(tt.accent) == nil {
			t.Errorf("%s %s is taken", tt.mode.flag, tt.accent)
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
	colours := map[string][2]colour{
		"soft":   {lightMode.soft, darkMode.soft},
		"accent": {lightMode.accent, darkMode.accent}, "accent-ground": {lightMode.accentGround, darkMode.accentGround},
		"on-accent": {lightMode.onAccent, darkMode.onAccent},
	}
	for i, name := range groundNames {
		colours[name] = [2]colour{lightMode.grounds[i], darkMode.grounds[i]}
	}
	if raised := [2]colour{lightMode.raised, darkMode.raised}; colours["raised"] != raised {
		t.Errorf("raised is %v, want %v", colours["raised"], raised)
	}
	for name, want := range colours {
		if line := fmt.Sprintf("--%s: light-dark(%s, %s);", name, want[0], want[1]); !strings.Contains(string(theme), line) {
			t.Errorf("src/styles/theme.css has no %q", line)
		}
	}
}

package page

import (
	"fmt"
	"math"
	"strings"
)

// colour is one of the sRGB space.
type colour [3]uint8

func parseColour(text string) (colour, error) {
	var c colour
	if len(text) != len("#rrggbb") || text[0] != '#' {
		return c, fmt.Errorf("%q is no colour; give one as #rrggbb, such as #3352d8", text)
	}
	for i := range c {
		digits := strings.ToLower(text[1+2*i : 3+2*i])
		for _, d := range digits {
			value := strings.IndexRune("0123456789abcdef", d)
			if value < 0 {
				return c, fmt.Errorf("%q is no colour; give one as #rrggbb, such as #3352d8", text)
			}
			c[i] = c[i]<<4 | uint8(value)
		}
	}
	return c, nil
}

// mustColour is for colours that are written in this package.
func mustColour(text string) colour {
	c, err := parseColour(text)
	if err != nil {
		panic(err)
	}
	return c
}

func colours(texts ...string) []colour {
	list := make([]colour, len(texts))
	for i, text := range texts {
		list[i] = mustColour(text)
	}
	return list
}

func (c colour) String() string { return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2]) }

// towards mixes in a part of another colour.
func (c colour) towards(other colour, part float64) colour {
	for i := range c {
		c[i] = uint8(math.Round(float64(c[i])*(1-part) + float64(other[i])*part))
	}
	return c
}

// luminance is that of WCAG 2.
func (c colour) luminance() float64 {
	var linear [3]float64
	for i, channel := range c {
		v := float64(channel) / 255
		if v <= 0.04045 {
			linear[i] = v / 12.92
		} else {
			linear[i] = math.Pow((v+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*linear[0] + 0.7152*linear[1] + 0.0722*linear[2]
}

// contrast is that of WCAG 2, from 1 to 21.
func contrast(a, b colour) float64 {
	high, low := a.luminance(), b.luminance()
	if high < low {
		high, low = low, high
	}
	return (high + 0.05) / (low + 0.05)
}

var (
	black = mustColour("#000000")
	white = mustColour("#ffffff")
)

// textContrast is what text needs.
const textContrast = 4.5

// mode is what an accent has to get along with in light or in dark mode. The
// colours are those of src/styles/theme.css.
type mode struct {
	flag    string
	away    string   // which way more contrast lies
	extreme colour   // the end of that way
	grounds []colour // what links and marks stand on, by groundNames
	raised  colour   // lists and dialogs
	soft    colour   // quiet text
	tint    float64
	// What stands where no accent is given.
	accent, accentGround, onAccent colour
}

// groundNames are the theme's names of the grounds that carry the accent: the
// page, cards, dialogs, what is sunken in them, and notices.
var groundNames = [...]string{"ground", "surface", "raised", "sunken", "warn-ground", "bad-ground"}

var (
	lightMode = mode{
		flag: "--page-accent", away: "darker", extreme: black,
		grounds: colours("#f6f7f9", "#ffffff", "#ffffff", "#eff1f4", "#fff6e0", "#fdefed"),
		raised:  white, soft: mustColour("#5a6270"), tint: 0.1,
		accent: mustColour("#3352d8"), accentGround: mustColour("#eef1fe"), onAccent: white,
	}
	darkMode = mode{
		flag: "--page-accent-dark", away: "lighter", extreme: white,
		grounds: colours("#0d0f13", "#15181e", "#1c2028", "#1f242c", "#2c2310", "#331a17"),
		raised:  mustColour("#1c2028"), soft: mustColour("#a1aab8"), tint: 0.2,
		accent: mustColour("#93a8ff"), accentGround: mustColour("#1d2545"), onAccent: mustColour("#0d1230"),
	}
)

// worst is the ground on which a colour is read least well.
func (m mode) worst(c colour) (ground colour, measured float64) {
	measured = math.Inf(1)
	for _, g := range m.grounds {
		if own := contrast(c, g); own < measured {
			ground, measured = g, own
		}
	}
	return ground, measured
}

// check reports why an accent will not do, and one near it that would.
func (m mode) check(accent string) error {
	if accent == "" {
		return nil
	}
	c, err := parseColour(accent)
	if err != nil {
		return fmt.Errorf("%s: %w", m.flag, err)
	}
	ground, measured := m.worst(c)
	if measured >= textContrast {
		return nil
	}
	near := c
	for part, own := 0.01, measured; own < textContrast; part += 0.01 {
		near = c.towards(m.extreme, min(part, 1))
		_, own = m.worst(near)
	}
	return fmt.Errorf("%s: %s has a contrast of %.2f:1 against the page's ground %s, and text needs %.1f:1; choose a %s colour, such as %s",
		m.flag, accent, math.Floor(measured*100)/100, ground, textContrast, m.away, near)
}

// use is what the page is coloured with for an accent that was checked: itself,
// the ground of what is chosen, on which it and quiet text are still read, and
// the text on it.
func (m mode) use(accent string) (own, ground, text colour) {
	if accent == "" {
		return m.accent, m.accentGround, m.onAccent
	}
	own = mustColour(accent)
	ground = m.raised
	for tint := m.tint; tint > 0; tint -= 0.01 {
		tinted := m.raised.towards(own, tint)
		if contrast(own, tinted) >= textContrast && contrast(m.soft, tinted) >= textContrast {
			ground = tinted
			break
		}
	}
	text = white
	if contrast(own, black) > contrast(own, white) {
		text = black
	}
	return own, ground, text
}

// accentRule follows the page's own style sheet.
func accentRule(light, dark string) string {
	accent, ground, text := lightMode.use(light)
	accentDark, groundDark, textDark := darkMode.use(dark)
	return fmt.Sprintf(":root{--accent:light-dark(%s,%s);--accent-ground:light-dark(%s,%s);--on-accent:light-dark(%s,%s)}\n",
		accent, accentDark, ground, groundDark, text, textDark)
}

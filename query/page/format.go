package page

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"

	"agentmeter/schemas/api"
)

// group puts commas into an exact decimal.
func group(value any) string {
	var text string
	switch v := value.(type) {
	case string:
		text = v
	case *string:
		if v == nil {
			return "—"
		}
		text = *v
	case int64:
		text = strconv.FormatInt(v, 10)
	case *int64:
		text = strconv.FormatInt(*v, 10)
	default:
		panic(fmt.Sprintf("group: %T is no figure", value)) // a template's fault
	}
	return strings.Replace(Grouped(text), "-", "−", 1)
}

// Grouped puts commas between the thousands of a plain decimal.
func Grouped(decimal string) string {
	digits, negative := strings.CutPrefix(decimal, "-")
	whole, fraction, exact := strings.Cut(digits, ".")
	var grouped strings.Builder
	if negative {
		grouped.WriteByte('-')
	}
	for i := range len(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			grouped.WriteByte(',')
		}
		grouped.WriteByte(whole[i])
	}
	if exact {
		grouped.WriteString("." + fraction)
	}
	return grouped.String()
}

// perMessage is credits for each message, "" without messages.
func perMessage(credits, messages string) string {
	spent, ok := new(big.Rat).SetString(credits)
	answered, whole := new(big.Rat).SetString(messages)
	if !ok || !whole || answered.Sign() == 0 {
		return ""
	}
	return group(spent.Quo(spent, answered).FloatString(2))
}

// turning are letters that run from right to left, and marks that say which way
// to go; directions are such marks alone.
var (
	turning    = regexp.MustCompile(`[\x{590}-\x{8ff}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2066}-\x{2069}\x{fb1d}-\x{fdff}\x{fe70}-\x{fefc}\x{10800}-\x{10fff}\x{1e800}-\x{1efff}]`)
	directions = regexp.MustCompile(`[\x{202a}-\x{202e}\x{2066}-\x{2069}]`)
)

// isolated is a name for where there is no markup to set it apart: one that runs
// from right to left does not turn round what stands beside it.
func isolated(name string) string {
	if !turning.MatchString(name) {
		return name
	}
	return "\u2068" + directions.ReplaceAllString(name, "") + "\u2069"
}

// percent is a share of a row that has usage.
func percent(share string) string {
	if share == "0" || share == "0.0" {
		return "<0.1%"
	}
	return share + "%"
}

// duration is one of minutes or more in words, rounded down.
func duration(d time.Duration) string {
	size, unit := d/time.Minute, "minute"
	switch {
	case d >= 48*time.Hour:
		size, unit = d/(24*time.Hour), "day"
	case d >= time.Hour:
		size, unit = d/time.Hour, "hour"
	}
	if size != 1 {
		unit += "s"
	}
	return Grouped(strconv.FormatInt(int64(size), 10)) + " " + unit
}

// Bar names a bar by its clock on the wall of the zone.
func (p NoScript) Bar(bar api.Bar, grain api.Grain) string {
	start, end := bar.Start.In(p.Zone), bar.End.In(p.Zone)
	switch grain {
	case api.GrainDay:
		return start.Format("Mon 2 Jan 2006")
	case api.GrainWeek, api.GrainMonth:
		return dates(start, end)
	default:
		return p.format(start, "Mon 2 Jan 2006, 15:04") + "–" + p.format(end, "15:04 MST")
	}
}

func dates(start, end time.Time) string {
	last := end.Add(-1)
	if start.Format(time.DateOnly) == last.Format(time.DateOnly) {
		return start.Format("2 Jan 2006")
	}
	if start.Year() == last.Year() {
		return start.Format("2 Jan") + " – " + last.Format("2 Jan 2006")
	}
	return start.Format("2 Jan 2006") + " – " + last.Format("2 Jan 2006")
}

// Span names a range.
func (p NoScript) Span(r api.UsageRange) string {
	start, end := r.Start.In(p.Zone), r.End.In(p.Zone)
	if r.From != nil {
		return dates(start, end)
	}
	return p.format(start, "2 Jan 2006, 15:04 MST") + " – " + p.format(end, "2 Jan 2006, 15:04 MST")
}

// At names an instant to the second.
func (p NoScript) At(at *time.Time) string {
	if at == nil {
		return "not known"
	}
	return p.format(at.In(p.Zone), "2 Jan 2006, 15:04:05 MST")
}

// format takes a layout of 24 hours.
func (p NoScript) format(at time.Time, layout string) string {
	if p.twelveHours {
		layout = strings.NewReplacer("15:04:05", "3:04:05 pm", "15:04", "3:04 pm").Replace(layout)
	}
	return at.Format(layout)
}

package schemas

import (
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"time"

	"agentmeter/schemas/usagev1"
)

// Limits of the directory's fields.
const (
	MaxSlots         = 1_000_000_000
	maxLinkBytes     = 2048
	maxEmailBytes    = 254
	maxTimezoneBytes = 64
)

// The years that a billing anchor may lie in.
const (
	minAnchorYear = 1970
	maxAnchorYear = 2200
)

// LinkNames are the pages that the dashboard can link to.
var LinkNames = [...]string{"billing", "credits_explained", "auto_recharge", "plans", "agent_analytics"}

// DirectoryProblem says what is wrong with a change of the directory that somebody
// has written to Kafka, or "". Ingest sends none of which it says anything.
func DirectoryProblem(change *usagev1.DirectoryChange) string {
	if fault := ValidateWorkspaceID("workspace_id", change.WorkspaceId); fault != nil {
		return fault.Error()
	}
	if at := time.UnixMicro(change.ChangedAtUs); at.Before(MinOccurredAt) || at.After(MaxOccurredAt) {
		return "changed_at lies outside the years that there are"
	}
	switch of := change.Change.(type) {
	case *usagev1.DirectoryChange_Workspace:
		return workspaceProblem(of.Workspace)
	case *usagev1.DirectoryChange_Agent:
		return entityProblem("agent_id", of.Agent.AgentId, of.Agent.Name)
	case *usagev1.DirectoryChange_Member:
		return entityProblem("member_id", of.Member.MemberId, of.Member.Name)
	default:
		return "it is of an unknown kind"
	}
}

func entityProblem(field, id, name string) string {
	if fault := ValidateID(field, id); fault != nil {
		return fault.Error()
	}
	return fieldProblem("name", name, textOfPeople)
}

func workspaceProblem(w *usagev1.Workspace) string {
	for _, slots := range []*int64{w.AgentSlots, w.Seats} {
		if slots != nil && (*slots < 0 || *slots > MaxSlots) {
			return fmt.Sprintf("%d slots or seats", *slots)
		}
	}
	for _, field := range []struct {
		name, value string
		problem     func(string) string
	}{
		{"name", w.Name, textOfPeople},
		{"timezone", w.Timezone, TimezoneProblem},
		{"billing_anchor", w.BillingAnchor, AnchorProblem},
		{"support_email", w.SupportEmail, EmailProblem},
		{"product_name", w.ProductName, textOfPeople},
	} {
		if problem := fieldProblem(field.name, field.value, field.problem); problem != "" {
			return problem
		}
	}
	for name, link := range w.Links {
		if !slices.Contains(LinkNames[:], name) {
			return "links has a page that is not linked to"
		}
		if problem := fieldProblem("links."+name, link, LinkProblem); problem != "" {
			return problem
		}
	}
	return ""
}

func textOfPeople(text string) string { return TextProblem(text, MaxTextRunes) }

// fieldProblem is that of a text that may be empty.
func fieldProblem(name, value string, problem func(string) string) string {
	if value == "" {
		return ""
	}
	if found := problem(value); found != "" {
		return name + " " + found
	}
	return ""
}

// TimezoneProblem says what is wrong with the name of a time zone, or "".
func TimezoneProblem(name string) string {
	if len(name) <= maxTimezoneBytes {
		if _, err := LoadZone(name); err == nil {
			return ""
		}
	}
	return "is not an IANA time zone such as Europe/Copenhagen"
}

// AnchorProblem says what is wrong with a billing anchor, or "". Only its day of the month
// matters.
func AnchorProblem(date string) string {
	day, err := time.Parse(time.DateOnly, date)
	switch {
	case err != nil:
		return "is not a calendar date; write it like 2026-01-31"
	case day.Year() < minAnchorYear || day.Year() > maxAnchorYear:
		return fmt.Sprintf("lies outside the years %d to %d", minAnchorYear, maxAnchorYear)
	default:
		return ""
	}
}

// EmailProblem says what is wrong with an e-mail address, or "".
func EmailProblem(address string) string {
	parsed, err := mail.ParseAddress(address)
	if len(address) > maxEmailBytes || err != nil || parsed.Address != address {
		return "is not an e-mail address such as support@example.com"
	}
	return ""
}

// LinkProblem says what is wrong with the address of a page that is linked to, or "".
func LinkProblem(link string) string {
	parsed, err := url.Parse(link)
	switch {
	case len(link) > maxLinkBytes:
		return fmt.Sprintf("is longer than %d bytes", maxLinkBytes)
	case err != nil, parsed.Scheme != "http" && parsed.Scheme != "https", parsed.Host == "", parsed.User != nil:
		return "is not an http or https URL"
	default:
		return ""
	}
}

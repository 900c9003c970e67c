package ingest

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/fault"
	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
	"agentmeter/schemas/usagev1"
)

// PutWorkspace implements PUT /v1/workspaces/{ws}.
func (in routes) PutWorkspace(w http.ResponseWriter, r *http.Request, ws string) {
	faults := validWorkspace(ws)
	document, err := in.readDocument(w, r)
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	settings, more := decodeWorkspace(document)
	in.change(w, r, append(faults, more...), &usagev1.DirectoryChange{
		WorkspaceId: ws, Change: &usagev1.DirectoryChange_Workspace{Workspace: settings},
	})
}

// PutAgent implements PUT /v1/workspaces/{ws}/agents/{id}.
func (in routes) PutAgent(w http.ResponseWriter, r *http.Request, ws, id string) {
	name, faults, err := in.readName(w, r, ws, "agent_id", id)
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	in.change(w, r, faults, agentChange(ws, &usagev1.Agent{AgentId: id, Name: name}))
}

// DeleteAgent implements DELETE /v1/workspaces/{ws}/agents/{id}.
func (in routes) DeleteAgent(w http.ResponseWriter, r *http.Request, ws, id string) {
	faults := validIDs(ws, "agent_id", id)
	in.change(w, r, faults, agentChange(ws, &usagev1.Agent{AgentId: id, Deleted: true}))
}

// PutMember implements PUT /v1/workspaces/{ws}/members/{id}.
func (in routes) PutMember(w http.ResponseWriter, r *http.Request, ws, id string) {
	name, faults, err := in.readName(w, r, ws, "member_id", id)
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	in.change(w, r, faults, memberChange(ws, &usagev1.Member{MemberId: id, Name: name}))
}

// DeleteMember implements DELETE /v1/workspaces/{ws}/members/{id}.
func (in routes) DeleteMember(w http.ResponseWriter, r *http.Request, ws, id string) {
	faults := validIDs(ws, "member_id", id)
	in.change(w, r, faults, memberChange(ws, &usagev1.Member{MemberId: id, Deleted: true}))
}

func agentChange(ws string, agent *usagev1.Agent) *usagev1.DirectoryChange {
	return &usagev1.DirectoryChange{WorkspaceId: ws, Change: &usagev1.DirectoryChange_Agent{Agent: agent}}
}

func memberChange(ws string, member *usagev1.Member) *usagev1.DirectoryChange {
	return &usagev1.DirectoryChange{WorkspaceId: ws, Change: &usagev1.DirectoryChange_Member{Member: member}}
}

// change sends a change that has no faults and answers.
func (in *Ingest) change(w http.ResponseWriter, r *http.Request, faults []schemas.FieldError, change *usagev1.DirectoryChange) {
	if len(faults) > 0 {
		in.metrics.rejected.WithLabelValues(faults[0].Code).Inc()
		httpapi.WriteError(w, r, httpapi.Invalid(faults...))
		return
	}
	changedAt := in.clock.now()
	change.ChangedAtUs = changedAt.UnixMicro()
	value, err := change.MarshalVT()
	if err != nil {
		httpapi.WriteError(w, r, fmt.Errorf("encode directory change: %w", err))
		return
	}
	leave, err := in.turn(r.Context(), len(value))
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	defer leave()
	held := in.holding(r.Context())
	if err = held.take(int64(len(change.WorkspaceId)+len(value)) + recordOverhead); err == nil {
		err = in.producer.send(r.Context(), held, []kgo.Record{{
			Topic: in.config.DirectoryTopic, Key: []byte(change.WorkspaceId), Value: value,
		}})
	}
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	in.metrics.accepted.WithLabelValues(kindDirectory).Inc()
	httpapi.WriteJSON(w, r, http.StatusAccepted, api.DirectoryReceipt{ChangedAt: changedAt})
}

// directoryClock gives every change of this process an instant of its own,
// never before the last one, so that two changes in the same microsecond, or a
// clock that is set back, leave an order to go by.
type directoryClock struct {
	mu   sync.Mutex // guards last
	last time.Time
}

func (c *directoryClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := fault.Now().UTC().Truncate(time.Microsecond)
	if !now.After(c.last) {
		now = c.last.Add(time.Microsecond)
	}
	c.last = now
	return now
}

// validIDs checks the ids of a path: a workspace's, and that of what is in it.
func validIDs(ws, field, id string) []schemas.FieldError {
	faults := validWorkspace(ws)
	if invalid := schemas.ValidateID(field, id); invalid != nil {
		faults = append(faults, *invalid)
	}
	return faults
}

func validWorkspace(ws string) []schemas.FieldError {
	if invalid := schemas.ValidateWorkspaceID("workspace_id", ws); invalid != nil {
		return []schemas.FieldError{*invalid}
	}
	return nil
}

// readDocument reads a body that is one well-formed JSON object.
func (in *Ingest) readDocument(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := httpapi.ReadBody(w, r, maxDocumentBytes)
	if err != nil {
		return nil, err
	}
	values := jsontext.NewDecoder(bytes.NewBuffer(body), wellFormed)
	if values.PeekKind() != jsontext.KindBeginObject {
		return nil, notThis(values, "a JSON object")
	}
	return body, onlyValue(values, func([]byte) error { return nil })
}

// readName reads the body of an agent or a member.
func (in *Ingest) readName(w http.ResponseWriter, r *http.Request, ws, idField, id string) (name string, faults []schemas.FieldError, err error) {
	document, err := in.readDocument(w, r)
	if err != nil {
		return "", nil, err
	}
	f := fields{faults: validIDs(ws, idField, id)}
	walk := members(document)
	for {
		member, value, ok := walk.next()
		if !ok {
			break
		}
		if member != "name" {
			f.unknown(member)
		} else if f.once(member, 1) {
			f.shortText("name", value, &name)
		}
	}
	if name == "" && !f.found("name") {
		f.fault("name", "name_missing", fmt.Sprintf("is required; give it 1 to %d characters", schemas.MaxTextRunes))
	}
	return name, f.faults, nil
}

// decodeWorkspace reads a workspace's settings; null is as good as absent.
func decodeWorkspace(document []byte) (*usagev1.Workspace, []schemas.FieldError) {
	var f fields
	settings := &usagev1.Workspace{}
	readers := [...]struct {
		name string
		read func(name string, value jsonValue)
	}{
		{"name", func(name string, value jsonValue) { f.shortText(name, value, &settings.Name) }},
		{"timezone", func(name string, value jsonValue) {
			f.checked(name, value, &settings.Timezone, schemas.TimezoneProblem)
		}},
		{"billing_anchor", func(name string, value jsonValue) {
			f.checked(name, value, &settings.BillingAnchor, schemas.AnchorProblem)
		}},
		{"agent_slots", func(name string, value jsonValue) { f.slots(name, value, &settings.AgentSlots) }},
		{"seats", func(name string, value jsonValue) { f.slots(name, value, &settings.Seats) }},
		{"links", func(_ string, value jsonValue) { settings.Links = f.links(value) }},
		{"support_email", func(name string, value jsonValue) {
			f.checked(name, value, &settings.SupportEmail, schemas.EmailProblem)
		}},
		{"product_name", func(name string, value jsonValue) { f.shortText(name, value, &settings.ProductName) }},
	}
	walk := members(document)
members:
	for {
		name, value, ok := walk.next()
		if !ok {
			break
		}
		for i, reader := range readers {
			if reader.name == name {
				if f.once(name, 1<<i) {
					reader.read(name, value)
				}
				continue members
			}
		}
		f.unknown(name)
	}
	return settings, f.faults
}

// found reports whether a fault of the field is known.
func (f *fields) found(field string) bool {
	for _, fault := range f.faults {
		if fault.Field == field {
			return true
		}
	}
	return false
}

// checked reads a string for which problem finds nothing. Empty is the default.
func (f *fields) checked(name string, value jsonValue, into *string, problem func(string) string) {
	f.text(name, value, into)
	if *into == "" {
		return
	}
	if found := problem(*into); found != "" {
		f.fault(name, name+"_invalid", found)
		*into = ""
	}
}

// shortText reads a string that is shown to people.
func (f *fields) shortText(name string, value jsonValue, into *string) {
	f.checked(name, value, into, func(text string) string { return schemas.TextProblem(text, schemas.MaxTextRunes) })
}

// slots reads a number of slots; null is none known.
func (f *fields) slots(name string, value jsonValue, into **int64) {
	var n int64
	if !f.whole(name, value, &n) {
		return
	}
	if n < 0 || n > schemas.MaxSlots {
		f.fault(name, name+"_out_of_range", fmt.Sprintf("lies outside 0 to %d", schemas.MaxSlots))
		return
	}
	*into = &n
}

// links reads the object of links. Empty and null ones are left out.
func (f *fields) links(value jsonValue) map[string]string {
	if value.isNull() {
		return nil
	}
	if !value.isObject() {
		f.fault("links", "links_invalid", "is not an object")
		return nil
	}
	links := make(map[string]string, len(schemas.LinkNames))
	inner := fields{}
	walk := members(value.raw)
members:
	for {
		name, value, ok := walk.next()
		if !ok {
			break
		}
		for i, known := range schemas.LinkNames {
			if known == name {
				var link string
				if inner.once(known, 1<<i) {
					inner.checked(known, value, &link, schemas.LinkProblem)
				}
				if link != "" {
					links[known] = link
				}
				continue members
			}
		}
		inner.unknown(name)
	}
	for _, fault := range inner.faults {
		code := fault.Code
		if code != codeFieldUnknown && code != codeFieldDuplicate {
			code = "links_invalid"
		}
		f.fault("links."+fault.Field, code, fault.Detail)
	}
	return links
}

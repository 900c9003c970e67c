// Package eventclienttest is a write side for tests: it speaks the contract of
// POST /v1/events and of the directory over real HTTP, remembers what it
// accepted, and fails on request the way networks and restarting servers do.
package eventclienttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// Fault is what happens to a request.
type Fault uint8

// The faults. After DropAnswer and HalfAnswer the events are accepted although
// the client cannot know it.
const (
	FaultNone Fault = iota
	FaultDropRequest
	FaultDropAnswer
	FaultHalfAnswer
	FaultUnavailable
	FaultTooManyRequests
	FaultInternal
)

// Faults lists them all, FaultNone included.
var Faults = []Fault{FaultNone, FaultDropRequest, FaultDropAnswer, FaultHalfAnswer, FaultUnavailable, FaultTooManyRequests, FaultInternal}

// Token is what the server takes.
const Token = "a-token"

// Server is the write side.
type Server struct {
	URL string

	// Intercept, where set, is asked about each request before anything else;
	// calls are counted from 0. It may block, and answers with true if it has
	// dealt with the request itself.
	Intercept func(call int, w http.ResponseWriter, r *http.Request) (handled bool)
	// Fault, where set, chooses what happens to each request to /v1/events.
	Fault func(call int) Fault
	// MaxEvents is how many events a request may have; 0 means 10,000.
	MaxEvents int

	http *httptest.Server

	mu        sync.Mutex // guards the fields below
	calls     int
	received  map[string]int // by id: in how many requests that were processed
	accepted  map[string]schemas.Event
	encodings []string
	sizes     []int
	directory []string
}

// Start runs a server until the test ends.
func Start(t testing.TB, configure func(*Server)) *Server {
	t.Helper()
	s := &Server{received: make(map[string]int), accepted: make(map[string]schemas.Event)}
	if configure != nil {
		configure(s)
	}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	s.URL = s.http.URL
	t.Cleanup(s.http.Close)
	return s
}

// Calls is how many requests have arrived.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Accepted returns the accepted events by id.
func (s *Server) Accepted() map[string]schemas.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := make(map[string]schemas.Event, len(s.accepted))
	for id, e := range s.accepted {
		events[id] = e
	}
	return events
}

// Received is in how many requests the id has been processed.
func (s *Server) Received(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received[id]
}

// Encodings are the Content-Encoding headers, Sizes the numbers of items, of
// the processed requests.
func (s *Server) Encodings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.encodings...)
}

// Sizes are the numbers of items of the processed requests.
func (s *Server) Sizes() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int(nil), s.sizes...)
}

// Directory are the directory changes, as in "PUT /v1/workspaces/ws {…}".
func (s *Server) Directory() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.directory...)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	call := s.calls
	s.calls++
	s.mu.Unlock()
	if s.Intercept != nil && s.Intercept(call, w, r) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+Token {
		WriteProblem(w, http.StatusUnauthorized, "unauthorized", "The token is missing or not valid.")
		return
	}
	if r.URL.Path != "/v1/events" {
		s.changeDirectory(w, r)
		return
	}
	fault := FaultNone
	if s.Fault != nil {
		fault = s.Fault(call)
	}
	switch fault {
	case FaultDropRequest:
		drop(w)
		return
	case FaultUnavailable:
		WriteProblem(w, http.StatusServiceUnavailable, "kafka_unavailable", "Kafka did not acknowledge in time.")
		return
	case FaultTooManyRequests:
		WriteProblem(w, http.StatusTooManyRequests, "too_many_requests", "Slow down.")
		return
	case FaultInternal:
		WriteProblem(w, http.StatusInternalServerError, "internal_error", "internal error")
		return
	case FaultNone, FaultDropAnswer, FaultHalfAnswer:
	}
	status, answer := s.postEvents(r)
	switch fault {
	case FaultDropAnswer:
		drop(w)
		return
	case FaultHalfAnswer:
		w.Header().Set("Content-Length", fmt.Sprint(len(answer)+1))
	default:
	}
	w.Header().Set("Content-Type", "application/json")
	if status >= http.StatusBadRequest {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer) //nolint:gosec // JSON, and the media type says so
}

func drop(w http.ResponseWriter) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = connection.Close()
	}
}

// WriteProblem answers with a problem document.
func WriteProblem(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(encode(problem(status, code, detail)))
}

func problem(status int, code, detail string) api.Problem {
	return api.Problem{
		Type: "urn:agentmeter:problem:" + code, Title: http.StatusText(status), Status: status, Detail: detail,
		Instance: "urn:agentmeter:trace:4bf92f3577b34da6a3ce929d0e0e4736", Code: code, Errors: []api.FieldProblem{},
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
	}
}

func encode(v any) []byte {
	content, err := json.Marshal(v)
	if err != nil {
		panic("eventclienttest: " + err.Error())
	}
	return content
}

func (s *Server) postEvents(r *http.Request) (int, []byte) {
	refuse := func(status int, code, detail string) (int, []byte) {
		return status, encode(problem(status, code, detail))
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-ndjson" {
		return refuse(http.StatusUnsupportedMediaType, "unsupported_media_type", r.Header.Get("Content-Type"))
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			return refuse(http.StatusBadRequest, "body_invalid", err.Error())
		}
		body = unpacked
	}
	content, err := io.ReadAll(body)
	if err != nil {
		return refuse(http.StatusBadRequest, "body_invalid", err.Error())
	}
	if len(content) > 16<<20 {
		return refuse(http.StatusRequestEntityTooLarge, "body_too_large", "The body is larger than 16777216 bytes.")
	}
	var items [][]byte
	for line := range bytes.SplitSeq(content, []byte{'\n'}) {
		if len(bytes.TrimSpace(line)) > 0 {
			items = append(items, line)
		}
	}
	limit := s.MaxEvents
	if limit == 0 {
		limit = 10_000
	}
	if len(items) > limit {
		return refuse(http.StatusRequestEntityTooLarge, "too_many_events", fmt.Sprintf("The batch has more than %d events.", limit))
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.encodings = append(s.encodings, r.Header.Get("Content-Encoding"))
	s.sizes = append(s.sizes, len(items))
	acceptance := api.Acceptance{Rejected: []api.RejectedItem{}}
	for i, item := range items {
		event, id, code, detail := decode(item)
		if id != nil {
			s.received[*id]++
		}
		if code != "" {
			acceptance.Rejected = append(acceptance.Rejected, api.RejectedItem{Index: i, ID: id, Code: code, Detail: detail})
			continue
		}
		acceptance.Accepted++
		s.accepted[event.ID] = event
	}
	if acceptance.Accepted > 0 {
		return http.StatusAccepted, encode(acceptance)
	}
	refused := problem(http.StatusUnprocessableEntity, "nothing_accepted", "Nothing in the batch was acceptable.")
	if len(items) == 0 {
		refused.Code = "batch_empty"
	}
	none := api.ProblemAccepted(0)
	refused.Accepted, refused.Rejected = &none, &acceptance.Rejected
	return http.StatusUnprocessableEntity, encode(refused)
}

// wireEvent is an event as the contract has it.
type wireEvent struct {
	ID           string      `json:"id"`
	Workspace    string      `json:"workspace_id"`
	Agent        string      `json:"agent_id"`
	Conversation string      `json:"conversation_id"`
	OccurredAt   time.Time   `json:"occurred_at"`
	Channel      string      `json:"channel"`
	Model        string      `json:"model"`
	Credits      json.Number `json:"credits"`  // takes a string, too
	Messages     json.Number `json:"messages"` // takes a string, too
}

func decode(line []byte) (event schemas.Event, id *string, code, detail string) {
	wire := wireEvent{Messages: "1"}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&wire)
	if wire.ID != "" {
		id = &wire.ID
	}
	if err == nil {
		if _, err = decoder.Token(); err == nil {
			err = errors.New("more than one value")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		return event, id, "event_invalid", err.Error()
	}
	credits, err := schemas.ParseCreditsNumber(wire.Credits.String())
	if err != nil {
		return event, id, "credits_invalid", "credits: " + err.Error()
	}
	messages, err := wire.Messages.Int64()
	if err != nil {
		return event, id, "messages_invalid", "messages: " + err.Error()
	}
	event = schemas.Event{
		ID: wire.ID, Workspace: schemas.WorkspaceID(wire.Workspace), Agent: schemas.AgentID(wire.Agent),
		Conversation: wire.Conversation, OccurredAt: wire.OccurredAt.UTC().Truncate(time.Microsecond),
		Channel: wire.Channel, Model: wire.Model, Credits: credits, Messages: messages,
	}
	if faults := event.Validate(); faults != nil {
		return event, id, faults[0].Code, faults[0].Error()
	}
	return event, id, "", ""
}

func (s *Server) changeDirectory(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil || (r.Method != http.MethodPut && r.Method != http.MethodDelete) {
		WriteProblem(w, http.StatusNotFound, "not_found", "There is no such thing, or it is not yours.")
		return
	}
	s.mu.Lock()
	s.directory = append(s.directory, string(bytes.TrimSpace(fmt.Appendf(nil, "%s %s %s", r.Method, r.URL.Path, content))))
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(encode(api.DirectoryReceipt{ChangedAt: time.Now().UTC()}))
}

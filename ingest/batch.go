package ingest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/auth"
	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// Codes of what is refused, of an item or of a whole batch, beside those that
// schemas has for single fields.
const (
	codeEventInvalid    = "event_invalid"
	codeEventTooLarge   = "event_too_large"
	codeFieldUnknown    = "field_unknown"
	codeFieldDuplicate  = "field_duplicate"
	codeNotCovered      = "workspace_not_covered"
	codeTooOld          = "occurred_at_too_old"
	codeInFuture        = "occurred_at_in_future"
	codeAdjustment      = "adjustment_not_allowed"
	codeCloudEvent      = "cloudevent_invalid"
	codeTooManyEvents   = "too_many_events"
	codeBatchEmpty      = "batch_empty"
	codeNothingAccepted = "nothing_accepted"
)

// Sizes, in bytes.
const (
	recordChunk          = 64 << 10
	recordBytesBeyondIDs = 128 // of a record, beside its texts: tags, lengths, numbers
	rejectionOverhead    = 512
	// A rejection is held as it is, and encoded for the answer.
	rejectionCopies = 2
	// toldInWords is how much of an answer says what is wrong in words. Of more
	// items it says the codes.
	toldInWords = 1 << 20
)

// batch collects what became of a request's items: records of those that are
// acceptable, reasons for the rest. Decoders call next for each item and then
// accept or reject.
type batch struct {
	config  *Config
	access  auth.Access
	oldest  time.Time // ordinary events lie at or after it
	newest  time.Time // all events lie at or before it
	now     time.Time // of its records: the client would ask the clock for each
	records []kgo.Record
	chunk   []byte // where records are encoded; replaced when full, never moved

	items    int
	single   bool // the body is one item, not a list
	words    int  // bytes of what is said of the rejected ones
	rejected []api.RejectedItem
	faults   []schemas.FieldError // of rejected items, the first MaxFieldErrors
	tooLarge int                  // rejected items that were just too large
	// held is what the records have of the budget, until Kafka's client has let go
	// of them, and told what the reasons have, until the answer is written.
	held, told holding
	event      schemas.Event // scratch
	encoded    []byte        // the current item's record, where it came as one
	encoder    schemas.EventEncoder

	conversations conversations
}

func (in *Ingest) newBatch(ctx context.Context) *batch {
	access := auth.AccessFrom(ctx)
	now := time.Now()
	nothing := in.holding(ctx)
	b := &batch{
		config: &in.config, access: access, held: nothing, told: nothing, now: now,
		oldest: now.Add(-in.config.MaxEventAge), newest: now.Add(in.config.MaxEventSkew),
		rejected: []api.RejectedItem{}, conversations: newConversations(in.config.ConversationKey),
	}
	if access.Has(auth.EventsImport) {
		b.oldest = schemas.MinOccurredAt
	}
	return b
}

// expect makes room for as many records as a body of that size usually holds.
func (b *batch) expect(bodyBytes, usualEventBytes int) {
	b.records = make([]kgo.Record, 0, min(bodyBytes/usualEventBytes+1, b.config.MaxEvents))
}

// next begins an item. It fails where there are too many.
func (b *batch) next() error {
	if b.items == b.config.MaxEvents {
		return httpapi.TooLarge(codeTooManyEvents, fmt.Sprintf("The batch has more than %d events; split it.", b.config.MaxEvents))
	}
	b.items++
	b.encoded = nil
	if b.held.owed+b.told.owed > payAtOnce {
		return b.pay()
	}
	return nil
}

// pay takes from the budget what the items so far take up.
func (b *batch) pay() error {
	if err := b.held.pay(); err != nil {
		return err
	}
	return b.told.pay()
}

// release gives up all that the batch holds, and forgets it.
func (b *batch) release() {
	b.held.release()
	b.told.release()
}

// fits reports whether the current item is small enough, and rejects it
// otherwise.
func (b *batch) fits(bytes int) bool {
	if bytes <= b.config.MaxEventBytes {
		return true
	}
	b.tooLarge++
	b.reject("", schemas.FieldError{Code: codeEventTooLarge, Detail: fmt.Sprintf("has %d bytes; at most %d are allowed", bytes, b.config.MaxEventBytes)})
	return false
}

// accept takes the current item as far as it is acceptable. What its decoder
// found wrong is in faults already.
func (b *batch) accept(e *schemas.Event, faults []schemas.FieldError) {
	// Before anything else is said about it: for a workspace out of reach there
	// is one answer.
	if e.Workspace != "" && !b.access.Covers(e.Workspace) {
		b.reject(e.ID, errNotCovered)
		return
	}
	faults = appendValidation(faults, e)
	switch {
	case faults != nil:
	case e.OccurredAt.Before(b.oldest):
		faults = append(faults, schemas.FieldError{Field: "occurred_at", Code: codeTooOld, Detail: fmt.Sprintf(
			"lies before %s, the oldest that is taken now; a token with the scope events:import may go back further", b.oldest.UTC().Format(time.RFC3339))})
	case e.OccurredAt.After(b.newest):
		faults = append(faults, schemas.FieldError{Field: "occurred_at", Code: codeInFuture, Detail: fmt.Sprintf(
			"lies after %s, the newest that is taken now; check the sender's clock", b.newest.UTC().Format(time.RFC3339))})
	}
	if faults != nil {
		b.reject(e.ID, faults...)
		return
	}
	if stored := b.conversations.stored(e.Workspace, e.Conversation); stored != e.Conversation {
		e.Conversation, b.encoded = stored, nil // the record as it came has the id
	}
	b.encode(e)
}

var errNotCovered = schemas.FieldError{
	Field: "workspace_id", Code: codeNotCovered,
	Detail: "is not a workspace that the token covers",
}

// appendValidation adds what Validate finds, except about fields that the
// decoder has found wrong: their values are not what was sent.
func appendValidation(faults []schemas.FieldError, e *schemas.Event) []schemas.FieldError {
	decoded := len(faults)
next:
	for _, fault := range e.Validate() {
		for i := range decoded {
			if faults[i].Field == fault.Field {
				continue next
			}
		}
		faults = append(faults, fault)
	}
	return faults
}

// encode adds the event's record. Keys and values of many records share a
// chunk, so that a batch costs few allocations.
func (b *batch) encode(e *schemas.Event) {
	bound := 2*len(e.Workspace) + len(e.ID) + len(e.Agent) + len(e.Conversation) + len(e.Channel) + len(e.Model) + recordBytesBeyondIDs
	if e.Adjustment != nil {
		bound += len(e.Adjustment.Reason) + len(e.Adjustment.EventID)
	}
	if cap(b.chunk)-len(b.chunk) < bound {
		// For as many like it as are still expected, within a chunk's size.
		expected := max(cap(b.records)-len(b.records), 1)
		b.chunk = make([]byte, 0, max(min(recordChunk, expected*bound), bound))
	}
	b.held.owed += int64(bound) + recordOverhead
	begin := len(b.chunk)
	b.chunk = schemas.AppendRecordKey(b.chunk, e.Workspace, e.ID)
	middle := len(b.chunk)
	if b.encoded != nil {
		b.chunk = append(b.chunk, b.encoded...)
	} else {
		b.chunk = b.encoder.Append(b.chunk, e)
	}
	b.records = append(b.records, kgo.Record{
		Topic: b.config.EventsTopic,
		Key:   b.chunk[begin:middle:middle],
		Value: b.chunk[middle:len(b.chunk):len(b.chunk)],
		// The broker's own time counts; see kafka.EnsureTopics.
		Timestamp: b.now,
	})
}

// reject lists the current item with its reasons, the first of which is its
// code. The id may be whatever the sender wrote.
func (b *batch) reject(id string, faults ...schemas.FieldError) {
	item := api.RejectedItem{Index: b.items - 1, Code: faults[0].Code}
	if id != "" {
		shown := presentable(id)
		item.ID = &shown
	}
	texts := make([]string, len(faults))
	for i, fault := range faults {
		texts[i] = fault.Detail
		if fault.Field != "" {
			texts[i] = fault.Error()
		}
		if len(b.faults) < httpapi.MaxFieldErrors {
			if !b.single {
				fault.Field = strings.TrimSuffix("events["+strconv.Itoa(item.Index)+"]."+fault.Field, ".")
			}
			b.faults = append(b.faults, fault)
		}
	}
	item.Detail = strings.Join(texts, "; ")
	if b.words += len(item.Detail); b.words > toldInWords {
		item.Detail = "what is wrong is said in words of the first items only"
	}
	b.told.owed += int64(rejectionCopies*len(item.Detail)) + rejectionOverhead
	b.rejected = append(b.rejected, item)
}

// presentable copies text that a sender wrote, cut to the length of an id and
// free of what is no UTF-8.
func presentable(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if utf8.RuneCountInString(text) > schemas.MaxIDRunes {
		text = string([]rune(text)[:schemas.MaxIDRunes])
	}
	return strings.Clone(text)
}

// refused is the answer to a batch in which nothing is acceptable.
func (b *batch) refused() error {
	problem := &httpapi.Problem{
		Status: http.StatusUnprocessableEntity, Code: codeNothingAccepted,
		Errors: b.faults, Rejected: b.rejected,
	}
	switch {
	case b.items == 0:
		problem.Code, problem.Detail = codeBatchEmpty, "The batch holds no events."
	case b.tooLarge == b.items:
		problem.Status, problem.Code = http.StatusRequestEntityTooLarge, codeEventTooLarge
		problem.Detail = fmt.Sprintf("An event may have at most %d bytes.", b.config.MaxEventBytes)
	case b.single:
		problem.Detail = "The event is not acceptable: " + b.rejected[0].Detail + "."
	default:
		problem.Detail = fmt.Sprintf("None of the %d events is acceptable; see rejected.", b.items)
	}
	return problem
}

// acceptance is the answer to a batch whose records are acknowledged.
func (b *batch) acceptance() api.Acceptance {
	return api.Acceptance{Accepted: len(b.records), Rejected: b.rejected}
}

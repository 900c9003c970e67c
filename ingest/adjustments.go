package ingest

import (
	"net/http"

	"agentmeter/internal/auth"
	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
)

// maxDocumentBytes bounds the bodies of adjustments and of the directory.
const maxDocumentBytes = 64 << 10

// PostAdjustment implements POST /v1/adjustments.
func (in routes) PostAdjustment(w http.ResponseWriter, r *http.Request) {
	document, err := in.readDocument(w, r)
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	event := schemas.Event{Adjustment: &schemas.Adjustment{}}
	walk := members(document)
	faults := decodeEvent(&walk, &event)
	if access := auth.AccessFrom(r.Context()); event.Workspace != "" && !access.Covers(event.Workspace) {
		httpapi.WriteError(w, r, httpapi.ErrNotFound)
		return
	}
	leave, err := in.turn(r.Context(), len(document))
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	defer leave()
	batch := in.newBatch(r.Context())
	defer batch.told.release()
	batch.single = true
	// A correction may concern any day; only the future is refused.
	batch.oldest = schemas.MinOccurredAt
	if err := batch.next(); err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	batch.accept(&event, faults)
	if err := batch.pay(); err != nil {
		batch.release()
		httpapi.WriteError(w, r, err)
		return
	}
	in.finish(w, r, batch, kindAdjustment)
}

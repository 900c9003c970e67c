package ingest

import (
	"net/http"

	"agentmeter/internal/httpapi"
)

// A decoder finds the items of a body and gives each to the batch. An error
// means that the body as a whole cannot be read, and nothing of it counts.
// Strings that it puts into events share the body's memory.
type decoder struct {
	decode func(body []byte, b *batch) error
	// usualEventBytes is about how long an event is in this form.
	usualEventBytes int
}

// decoders by media type: the seam behind which decoding gets faster.
var decoders = map[string]decoder{
	"application/json":                   {decodeJSON, 240},
	"application/x-ndjson":               {decodeNDJSON, 240},
	"application/x-protobuf":             {decodeProtobuf, 100},
	"application/cloudevents+json":       {decodeCloudEvent, 300},
	"application/cloudevents-batch+json": {decodeCloudEvents, 300},
}

// eventMediaTypes is what a 415 suggests.
const eventMediaTypes = "application/json, application/x-ndjson, application/x-protobuf, application/cloudevents+json, application/cloudevents-batch+json"

// PostEvents implements POST /v1/events.
func (in routes) PostEvents(w http.ResponseWriter, r *http.Request) {
	mediaType, err := httpapi.MediaType(r)
	format, known := decoders[mediaType]
	if err == nil && !known {
		problem := httpapi.UnsupportedMediaType("media_type_unsupported", "This operation takes one of "+eventMediaTypes+".")
		problem.Headers = map[string]string{"Accept-Post": eventMediaTypes}
		err = problem
	}
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	body, err := in.readBody(w, r)
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	leave, err := in.turn(r.Context(), len(body.bytes))
	if err != nil {
		body.release()
		httpapi.WriteError(w, r, err)
		return
	}
	defer leave()
	batch := in.newBatch(r.Context())
	defer batch.told.release()
	batch.expect(len(body.bytes), format.usualEventBytes)
	err = format.decode(body.bytes, batch)
	body.release() // records and reasons are copies
	in.charge(r, batch.items)
	if err == nil {
		err = batch.pay()
	}
	if err != nil {
		batch.release()
		httpapi.WriteError(w, r, err)
		return
	}
	in.finish(w, r, batch, kindEvent)
}

// finish sends a batch's records, which are paid for, and answers.
func (in *Ingest) finish(w http.ResponseWriter, r *http.Request, b *batch, kind string) {
	for i := range b.rejected {
		in.metrics.rejected.WithLabelValues(b.rejected[i].Code).Inc()
	}
	if len(b.records) == 0 {
		httpapi.WriteError(w, r, b.refused())
		return
	}
	if err := in.producer.send(r.Context(), b.held, b.records); err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	in.metrics.accepted.WithLabelValues(kind).Add(float64(len(b.records)))
	httpapi.WriteJSON(w, r, http.StatusAccepted, b.acceptance())
}

// Package ingest is the write side: HTTP in, Kafka out.
//
// In flow usage events (JSON, NDJSON, CloudEvents or protobuf, plain or
// compressed), adjustments, and changes of the directory. Out flow the records
// of usage.events.v1 and usage.directory.v1, in the order of their batch.
//
// # How it is built
//
// A body is read within a budget of memory, waits its turn, and is decoded item by
// item into a batch: a record of each that is acceptable, reasons for the rest. The
// records go to Kafka together, and the answer waits for them. Read in this order, it
// is the way of an event: ingest, events, body, share, json (with object and plain;
// or protobuf, cloudevents), batch, conversation, produce, acknowledged. An adjustment
// is an event of its own (adjustments), the directory has a topic of its own
// (directory), and how much a key may send is seen to before all of it (ratelimit).
//
// # What it promises
//
// An event is checked completely before it is accepted, so that no later stage
// refuses it; 202 is sent only after every accepted event was acknowledged by all
// in-sync replicas; and what was rejected is listed with its reason.
//
// When Kafka does not acknowledge in time, the answer is 503 and claims nothing:
// some of the events may still be counted, and sending the batch again counts none
// of them twice. Where too much is in flight already, nothing was sent to Kafka: the
// answer is 429 to a sender that has its share, and 503 where nobody gets any more.
//
// Memory is bounded. Bodies of events are cut off at their limit as they are
// decompressed, and all bytes between a body's arrival and its acknowledgement are
// drawn from one budget. Those of adjustments and of the directory have at most 64
// KiB each and are read outside it; their records are drawn from it, too.
//
// # Words
//
// In the order in which a request with events meets them (PostEvents):
//
//   - key: whose rate is limited, that of a token's subject in a workspace; of a record,
//     what leads all copies of an id to one partition; of conversations, what hides them
//   - sender: whose share of what is in flight a request takes up
//   - budget, holding: the memory for all requests, and what one thing has of it: paid
//     for, or owed, which is in memory already
//   - body, document: what a request brings, decompressed; and one that is a single
//     object, an adjustment's or the directory's
//   - turn: so many bytes are decoded, sent and awaited at once, and the others wait
//   - share: what one sender may have of budget or turns: no more than it leaves free
//   - item: what a body holds one or many of, whatever its format: events, as far as
//     they are acceptable
//   - member: a name and its value in a JSON object, which is plain if nothing in it is
//     nested or has escapes: then it is checked as it is read
//   - fault: what is wrong with an item, or a field of it
//   - rejected, refused: of an item, for its faults, while the others count; and of a
//     request, of which then nothing was sent
//   - batch: what became of a request's items so far
//   - record: what Kafka gets of an item
//   - acknowledged: of a record that all in-sync replicas have; what is accepted is
//     said only then
package ingest

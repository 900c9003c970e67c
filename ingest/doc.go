// Package ingest is the write side: HTTP in, Kafka out.
//
// In flow usage events (JSON, NDJSON, CloudEvents or protobuf, plain or
// compressed), adjustments, and changes of the directory. Out flow the records
// of usage.events.v1 and usage.directory.v1, in the order of their batch.
//
// What it promises: an event is checked completely before it is accepted, so
// that no later stage refuses it; 202 is sent only after every accepted event
// was acknowledged by all in-sync replicas; and what was refused is listed with
// its reason. When Kafka does not acknowledge in time, or too much is in
// flight already, the answer is 503 and claims nothing: some of the events may
// still be counted, and sending the batch again counts none of them twice.
// Memory is bounded: bodies are cut off at their limit as they are
// decompressed, and all bytes between a body's arrival and its acknowledgement
// are drawn from one budget.
package ingest

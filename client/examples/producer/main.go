// Command producer is a platform's own service that writes what it meters
// straight to Kafka. It takes one event a line, as JSON, and is done once
// Kafka has acknowledged them all; where it fails, send the same lines again:
// an id counts once. It shows what docs/producers.md asks for.
//
//	go run ./client/examples/producer -kafka 127.0.0.1:9092 < events.ndjson
//
// Of Agentmeter it uses the record's protobuf message alone, which any language
// can generate from schemas/proto; the key and the partition are in keys.go.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/schemas/usagev1"
)

const topic = "usage.events.v1"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("producer", flag.ContinueOnError)
	brokers := flags.String("kafka", "127.0.0.1:9092", "Kafka brokers, separated by commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// Acknowledged by all in-sync replicas, and idempotent: franz-go's default,
	// said here because counting rests on the first.
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(*brokers, ",")...),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
			return func(r *kgo.Record, partitions int) int { return partitionOf(r.Key, partitions) }
		})),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()),
	)
	if err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	defer client.Close()

	acknowledged := kgo.AbortingFirstErrPromise(client)
	lines := bufio.NewScanner(in)
	sent := 0
	for lines.Scan() {
		record, err := recordOf(lines.Bytes())
		if err != nil {
			return fmt.Errorf("line %d: %w", sent+1, err)
		}
		client.Produce(ctx, record, acknowledged.Promise())
		sent++
	}
	if err := errors.Join(lines.Err(), acknowledged.Err()); err != nil {
		return fmt.Errorf("not all of %d events were acknowledged; send them again: %w", sent, err)
	}
	_, err = fmt.Fprintf(out, "%d events acknowledged\n", sent)
	return err
}

// event is a line of the input.
type event struct {
	ID         string    `json:"id"`
	Workspace  string    `json:"workspace_id"`
	Agent      string    `json:"agent_id"`
	OccurredAt time.Time `json:"occurred_at"`
	Channel    string    `json:"channel"`
	// Credits are millionths: money is not for floating point.
	Credits int64 `json:"credits_micro"`
}

func recordOf(line []byte) (*kgo.Record, error) {
	var e event
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil {
		return nil, err
	}
	message := usagev1.Event{
		WorkspaceId: e.Workspace, AgentId: e.Agent, OccurredAtUs: e.OccurredAt.UnixMicro(), Channel: e.Channel, CreditsMicro: e.Credits,
	}
	if raw, ok := uuidOf(e.ID); ok {
		message.IdUuid = raw
	} else {
		message.Id = e.ID
	}
	value, err := message.MarshalVT()
	if err != nil {
		return nil, err
	}
	return &kgo.Record{Topic: topic, Key: keyOf(e.Workspace, e.ID), Value: value}, nil
}

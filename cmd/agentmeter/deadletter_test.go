package main

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/deadletters"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
	"agentmeter/schemas/usagev1"
)

func TestALetterDoesNothingToATerminalAndIsWhole(t *testing.T) {
	text, binary := "\x1b[31mred", "\x1b[2Jred\xff"
	for value, want := range map[string]string{
		text:   `"\x1b[31mred"`,
		binary: "base64: " + base64.StdEncoding.EncodeToString([]byte(binary)),
	} {
		var out bytes.Buffer
		letter := &deadletters.Letter{Code: schemas.CodeUndecodable, Key: []byte(value), Value: []byte(value)}
		if err := printLetter(&out, letter); err != nil {
			t.Fatal(err)
		}
		if said := out.String(); strings.Contains(said, "\x1b") || !utf8.ValidString(said) || !strings.HasSuffix(said, "\n"+want+"\n") {
			t.Errorf("of %q: %q", value, said)
		}
	}
}

func TestDeadLetterCommandsExitAsTheirHelpSays(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	config := kafka.Config{Brokers: broker.ListenAddrs(), ClientID: "test"}
	producer, err := kgo.NewClient(config.ProducerOptions(slog.New(slog.DiscardHandler))...)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	if _, err := kafka.EnsureTopics(t.Context(), kadm.NewClient(producer), kafka.DefaultPlan()); err != nil {
		t.Fatal(err)
	}
	event := schemas.EncodeEvent(nil, &schemas.Event{
		ID: "e1", Workspace: "ws_a", Agent: "agt_1", Channel: "embed", Credits: 1_500_000, Messages: 1, OccurredAt: time.Now(),
	})
	stream := uuid.New()
	for offset, letter := range []*usagev1.DeadLetter{
		{Code: schemas.CodeWrongPartition, Value: event},
		{Code: schemas.CodeUndecodable, Value: []byte("no event")},
		{Code: schemas.CodePayloadConflict, Value: event},
	} {
		letter.Stream, letter.Partition, letter.Offset = stream[:], 3, int64(offset)
		value, err := letter.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: kafka.TopicDeadLetter, Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		args string
		code int
		said string
	}{
		{"list", exitOK, schemas.CodePayloadConflict},
		{"show 3/0", exitOK, "possible"},
		{"show 3/1", exitOK, `"no event"`},
		{"show 3/2", exitUnclear, "its id was recorded before"}, // and ClickHouse, which knows as what, is away
		{"show 3/7", exitNo, "there is no such dead letter"},
		{"show seven", exitUnclear, "seven"},
		{"replay 3/0", exitOK, "1 put back, 0 refused"},
		{"replay --all", exitNo, "1 would be put back, 2 refused"},
		{"replay 3/7", exitNo, "there is no such dead letter"},
		{"replay", exitUnclear, "name letters"},
	} {
		args := append([]string{"deadletter"}, strings.Fields(test.args)...)
		args = append(args, "--kafka", config.Brokers[0], "--clickhouse", "http://127.0.0.1:1")
		var out bytes.Buffer
		if code := run(t.Context(), args, nil, &out, &out); code != test.code || !strings.Contains(out.String(), test.said) {
			t.Errorf("%s: exit status %d, want %d, and %q of: %s", test.args, code, test.code, test.said, &out)
		}
	}
}

package schemas_test

import (
	"fmt"
	"time"

	"agentmeter/schemas"
)

// What a service that writes straight to Kafka puts into a record.
func ExampleRecordKey() {
	event := schemas.Event{
		ID: "answer-4711", Workspace: "ws_acme", Agent: "agt_support", Channel: "embed",
		OccurredAt: time.Date(2026, 11, 24, 9, 31, 0, 0, time.UTC), Credits: 1_500_000, Messages: 1,
	}
	value := schemas.EncodeEvent(nil, &event)
	fmt.Printf("%s %t\n", schemas.RecordKey(event.Workspace, event.ID), len(value) > 0)
	// Output: ws_acme/0 true
}

// Credits are decimals of six places at most, and exact.
func ExampleParseCredits() {
	credits, err := schemas.ParseCredits("1.25")
	fmt.Println(int64(credits), credits, err)
	// Output: 1250000 1.25 <nil>
}

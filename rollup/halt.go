package rollup

import (
	"fmt"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/kafka"
)

// haltError means that going on would be guessing. Its reason is what people get to
// see, and says what they can do; docs/counting.md tells more of each.
type haltError struct{ reason string }

func (e *haltError) Error() string { return e.reason }

func partialBlock(end ledgerEnd) *haltError {
	return &haltError{"partial block at the ledger's end: " + end.partial + "; the table was changed by hand or lost a part: restore it, or see docs/counting.md, When a partition halts"}
}

func logBeginsAbove(end ledgerEnd, partition int32, begin int64) *haltError {
	return &haltError{fmt.Sprintf("Kafka's log begins at offset %d, above the ledger's end %d: %d records were deleted before they were counted; restore them, or accept their loss with agentmeter accept-loss --partition %d --through %d",
		begin, end.position, begin-end.position, partition, begin)}
}

func logEndsBelow(end ledgerEnd, logEnd int64) *haltError {
	return &haltError{fmt.Sprintf("Kafka's log ends at offset %d, below the ledger's end %d: records were lost, and new ones would take counted offsets; restore the topic, or recreate it and run agentmeter adopt-topic",
		logEnd, end.position)}
}

func foreignTopic(live kafka.Stream, stream uuid.UUID, partitions int32) *haltError {
	remedy := "put it back from its backup, or go on with it by agentmeter adopt-topic"
	if live.ID == stream {
		remedy = "partitions change by a cut-over to a new topic, see docs/operations/partitions.md"
	}
	return &haltError{fmt.Sprintf("%s is stream %s with %d partitions now, and the ledger is of %s with %d: the topic was recreated or changed; %s",
		live.Topic, live.ID, live.Partitions, stream, partitions, remedy)}
}

func closedLedger() *haltError {
	return &haltError{"the ledger of this topic was closed by an adoption of another one that was not carried through: recreate the topic (agentmeter migrate), run agentmeter adopt-topic, and send again what was not counted"}
}

func tooLargeBatch(batch *kgo.ErrDecompressTooLarge) *haltError {
	return &haltError{fmt.Sprintf("Kafka holds a batch at offsets %d to %d that is more than %d bytes once it is decompressed; have its events sent again in smaller ones, delete the log's records below offset %d (kafka-delete-records), and accept their loss with agentmeter accept-loss --partition %d --through %d",
		batch.Offset, batch.NextOffset-1, kafka.MaxBatchBytes, batch.NextOffset, batch.Partition, batch.NextOffset)}
}

// Package rollup is the stage between Kafka and ClickHouse: it turns each
// record of usage.events.v1 into exactly one row of the ledger, from which
// materialized views keep the rollups, and each record of usage.directory.v1
// into a row of the directory's history.
//
// # How it is built
//
// A consumer group decides which process owns which partition, and nothing
// else: the group client fetches no records and Kafka's committed offsets are
// only a hint for operators. Each owned partition has one worker
// (eventPartition) with a consumer of its own, which starts where the ledger
// of the partition ends. The worker appends one block (ledger), on the condition
// that the ledger still ends where the block begins, while its preparer makes the
// next: cuts it from the records (block), decodes them and gives each its outcome
// (outcome, ids, idlookup). Blocks of a backlog take turns, of which a process has one
// more than there are cores (turns). How far everything is counted is published for
// readers (state, progress). Read in this order, it is the way of an event: rollup,
// partition, prepare, block, outcome, ids, ledger, progress.
//
// The rest is beside counting: the directory's topic (directory), and what people
// repair with (rebuild, adopt, acceptloss, erase, findevent), beside running rollups
// (beside).
//
// # What it promises
//
// Every offset is in the ledger once, every distinct event in every rollup
// once, whatever is killed, and when: "compare and append", as docs/counting.md
// tells. A partition where that can no longer be kept (a partial block, a
// truncated or replaced log) halts, loudly, and the others go on; it never
// guesses. The figures then say that they are not complete (rollup_progress).
//
// A worker holds at most two blocks, the one that is being appended and the one
// that is prepared, and what its consumer has fetched ahead; when ClickHouse is
// slow or gone, it waits and Kafka keeps the rest.
package rollup

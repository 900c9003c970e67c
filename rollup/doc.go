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
//
// # Words
//
// In the order in which a worker meets them (eventPartition.run):
//
//   - stream: a topic by its id: one that is made anew under the same name is another.
//     It is adopted once the ledger knows it
//   - offset, row, outcome: a record's place in its partition; what the ledger has of
//     it, one row an offset; and what it was found to be, such as counted or duplicate
//   - view: a rollup, or the id look-up: what a materialized view fills from the ledger
//   - session: what a worker counts between a take-over and the first error; the next
//     one begins with the ledger again
//   - take over: to see where the ledger ends, that its last block is in every view,
//     and that Kafka's log joins on
//   - mutex: the query id under which all statements of a partition that write or
//     decide run, one at a time
//   - confirmed, position: in the ledger and in every view; the first offset that is not
//   - set back: of a ledger that ends below what was confirmed, by a backup or by a
//     machine that lost power; its views know more than it does
//   - block: a run of rows [lo, hi) that is appended as a whole or not at all
//   - turn: what a block has to wait for that is larger than a small one
//   - gap: the outcome of an offset of which Kafka delivers no record, or whose loss was
//     accepted
//   - recorded, known: an id is recorded by its first row that is neither a duplicate nor
//     invalid, and known to a block if that row lies before it
//   - doubt: after anything but success of an append, until the ledger's end says what
//     became of the block
//   - stale: of a block in whose place somebody else has appended; it is void
//   - reconcile: to make the views equal to the ledger in what its last block touches;
//     to rebuild them is the same of more than that
//   - settled: of a last block that this worker has seen in every view, so that it needs
//     no reconcile again
//   - halt: to stand still where going on would be guessing, until the cause is gone
//   - counted through: the instant before which all that was acknowledged is confirmed
package rollup

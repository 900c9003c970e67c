// Package fault marks the steps of counting, so that tests with real processes
// can strike exactly there.
//
// A Point does nothing in an ordinary build: it compiles to nothing, and no
// environment variable can wake it. Built with -tags faults, a process reads a
// plan from AGENTMETER_FAULTS and strikes itself where the plan says: the crash
// harness (internal/crash) starts such processes. With the same tag,
// AGENTMETER_VARIANT selects a deliberately weakened protocol, which the
// harness has to catch, and AGENTMETER_CLOCK a clock that the browser tests set.
package fault

// Names of the points, in the order in which a block passes them.
const (
	TakeOverBegin   = "rollup.take_over.begin"         // nothing is known of the partition yet
	TakeOverEndRead = "rollup.take_over.end_read"      // the ledger's end is known, its last block not reconciled
	ReconcileBefore = "rollup.reconcile.before"        // before each view's statement
	ReconcileAfter  = "rollup.reconcile.after"         // after each view's statement
	TakeOverDone    = "rollup.take_over.done"          // the partition is about to be consumed
	IDsLoaded       = "rollup.ids.loaded"              // the id filter is complete
	BlockCut        = "rollup.block.cut"               // a block is in memory
	BlockLookedUp   = "rollup.block.looked_up"         // its ids are known
	LettersSent     = "rollup.block.dead_letters_sent" // its invalid records are acknowledged by the dead-letter topic
	AppendBefore    = "rollup.append.before"           // the block is encoded, nothing is sent
	AppendAnswered  = "rollup.append.answered"         // the engine has answered, whatever it said
	DoubtBefore     = "rollup.doubt.before"            // the append did not simply succeed
	DoubtEndRead    = "rollup.doubt.end_read"          // the ledger's end is known again
	BlockConfirmed  = "rollup.block.confirmed"         // the block is confirmed, nobody was told
	ProgressBefore  = "rollup.progress.before"         // progress is about to be published
	ProgressAfter   = "rollup.progress.after"          // it is
	RebuildBefore   = "rollup.rebuild.before"          // before each statement of a rebuild
	RebuildAfter    = "rollup.rebuild.after"           // after it
	RepairSetBack   = "rollup.repair_set_back"         // a ledger that was set back is being joined to its views

	EngineReceived = "engine.statement.received" // a writing statement has arrived, its mutex is not taken
	EngineLocked   = "engine.statement.locked"   // it has its mutex and has not begun
	EngineRunning  = "engine.statement.running"  // it runs
	EngineEnded    = "engine.statement.ended"    // it has ended, nobody was told

	IngestBefore = "ingest.produce.before" // events are validated, nothing is sent to Kafka
	IngestAfter  = "ingest.produce.after"  // Kafka has acknowledged, the client was not told

	BrokerBefore = "broker.produce.before" // a produce request has arrived
	BrokerAfter  = "broker.produce.after"  // its records are in the log, nobody was told
)

// Points lists every point.
var Points = []string{
	TakeOverBegin, TakeOverEndRead, ReconcileBefore, ReconcileAfter, TakeOverDone, IDsLoaded, BlockCut, BlockLookedUp,
	LettersSent, AppendBefore, AppendAnswered, DoubtBefore, DoubtEndRead, BlockConfirmed, ProgressBefore, ProgressAfter,
	RebuildBefore, RebuildAfter, RepairSetBack,
	EngineReceived, EngineLocked, EngineRunning, EngineEnded,
	IngestBefore, IngestAfter,
	BrokerBefore, BrokerAfter,
}

// The weakened protocols, each an obvious way to count that loses or doubles.
const (
	// StoredOffset inserts without a condition, then commits the offset to
	// Kafka, and resumes there.
	StoredOffset = "stored_offset"
	// NoReconcile resumes at the ledger's highest offset without reconciling
	// the last block.
	NoReconcile = "no_reconcile"
	// TrustedTokens inserts without a condition, under a deduplication token
	// for each block, and repeats until the engine says yes.
	TrustedTokens = "trusted_tokens"
	// NoMutex runs every statement without the partition's mutex.
	NoMutex = "no_mutex"
	// ClientReconcile reads the difference between ledger and views into the
	// client and inserts it with a second statement.
	ClientReconcile = "client_reconcile"
)

// Variants lists the weakened protocols.
var Variants = []string{StoredOffset, NoReconcile, TrustedTokens, NoMutex, ClientReconcile}

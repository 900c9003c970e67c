package model

import (
	"testing"

	"agentmeter/internal/slowtest"
)

// Bounds that a test can afford.
var (
	twoRecords  = Bounds{Records: 2, Resent: -1, ServerKills: 1, ConsumerKills: 1, Rebalances: 1, Timeouts: 1}
	oneBucket   = Bounds{Records: 2, Resent: -1, OneBucket: true, ServerKills: 1, ConsumerKills: 1, Rebalances: 1, Timeouts: 1}
	withFailure = Bounds{Records: 2, Resent: -1, ServerKills: 1, Rebalances: 1, Timeouts: 1, Failures: 1}
	rebuilt     = Bounds{Records: 2, Resent: -1, OneBucket: true, ServerKills: 1, Rebalances: 1, Timeouts: 1, Rebuilds: 1}
	replaced    = Bounds{Records: 2, Resent: -1, Rebalances: 1, Timeouts: 1, Replacements: 1}
	resent      = Bounds{Records: 3, Resent: 2, ServerKills: 1, ConsumerKills: 1, Rebalances: 1}

	// The same with fewer faults at once, for where a second has to do.
	oneBucketBriefly = Bounds{Records: 2, Resent: -1, OneBucket: true, ServerKills: 1, Rebalances: 1, Timeouts: 1}
	rebuiltBriefly   = Bounds{Records: 2, Resent: -1, OneBucket: true, Rebalances: 1, Timeouts: 1, Rebuilds: 1}
)

func TestCompareAndAppendCountsEachRecordOnce(t *testing.T) {
	for name, test := range map[string]struct {
		bounds Bounds
		long   bool
	}{
		"two records": {twoRecords, true}, "one bucket": {oneBucket, true}, "one bucket, fewer faults": {oneBucketBriefly, false},
		"an insert fails": {withFailure, false}, "a re-sent id": {resent, false}, "a rebuild beside it": {rebuilt, true},
		"a rebuild beside it, fewer faults": {rebuiltBriefly, false}, "a server replaced by its replica": {replaced, false},
	} {
		t.Run(name, func(t *testing.T) {
			if test.long {
				slowtest.Begin(t)
			}
			t.Parallel()
			result := Check(Protocol{}, test.bounds)
			t.Log(result.Tell())
			if result.Violation != "" {
				t.Errorf("the protocol is wrong")
			}
			if result.Complete == 0 {
				t.Errorf("no state is complete: the model shows nothing")
			}
		})
	}
}

func TestEachWeakerProtocolIsCaught(t *testing.T) {
	for name, test := range map[string]struct {
		protocol Protocol
		bounds   Bounds
	}{
		"insert, then store the offset":                 {Protocol{StoredOffset: true}, twoRecords},
		"resume at the ledger's end, without reconcile": {Protocol{NoReconcile: true}, twoRecords},
		"deduplication tokens trusted":                  {Protocol{Tokens: true}, twoRecords},
		"no mutex":                                      {Protocol{NoMutex: true}, twoRecords},
		"reconcile computed by the client":              {Protocol{ClientReconcile: true}, twoRecords},
		"the next block sent whatever became of one":    {Protocol{Regardless: true}, twoRecords},
		"a block of two parts":                          {Protocol{TwoParts: true}, twoRecords},
		"replaced while the old server still runs":      {Protocol{OldServerRuns: true}, replaced},
		"replaced by a replica that lacks something":    {Protocol{StaleReplica: true}, replaced},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := Check(test.protocol, test.bounds)
			t.Log(result.Tell())
			if result.Violation == "" {
				t.Errorf("the checker finds nothing wrong with it, so it would find nothing wrong with anything")
			}
		})
	}
}

// Package tiers decides which rollup answers which part of a question.
//
// In flow the edges of bars, out flow the cells to read from each tier: whole
// days where a day lies within one bar, whole hours where a bar's edge cuts the
// day, and so on down to the ledger itself. It is pure arithmetic on instants
// and knows neither SQL nor calendars; edges at any instant are right.
//
// It promises that the cells of a plan tile the bars exactly: every instant
// between the first edge and the last lies in exactly one cell that is read,
// every such cell within one bar, and no instant outside them in any. So what
// is added up from the tiers is what adding up the ledger would give.
package tiers

// Package query answers what was spent: ClickHouse in, HTTP out.
//
// In flow requests for a workspace, a range, an agent, a grain and a zone; out
// flow the dashboard's figures, the leaderboard, the picker, CSV, what is
// behind a bar, the ledger's proof of a range, and the stream that says when
// figures have moved. The page itself is package page.
//
// How a question is answered. Package calendar turns words into instants and
// bars; what is held of them in memory is used if it adds up to what the
// workspace used in all (held.go, totals.go); package tiers decides which rollup
// answers which stretch of the rest; one SQL statement reads all of that; and the
// headline, the bars, the leaderboard and the CSV are added up in Go from the very
// same rows. So they agree by construction. How far the ledger had been counted is
// read before all of them, so that what an answer claims to hold is always in it.
//
// What is promised when things break. A figure is either right or says that it
// is not complete: bars that end after counted_through are in_progress, bars
// that the pipeline knows it has not counted are missing, and an answer is
// partial when something is missing, when counted_through is not known, or
// when it lies more than two minutes behind what the answer is about. If
// ClickHouse does not answer there is a problem document and never a figure.
// The package keeps nothing that a restart could lose.
package query

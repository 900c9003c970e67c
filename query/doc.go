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
// Read in this order, it is the way of the dashboard: dashboard, params, asked,
// standing (with watermark, workspace, directory, totals), question, reading, held,
// units, usage, statement, read, figures, surroundings, etag. The other routes have
// files of their own: leaderboard, picker, breakdown, export, reconcile, live, usagepage.
//
// What is promised when things break. A figure is either right or says that it
// is not complete: bars that end after counted_through are in_progress, bars
// that the pipeline knows it has not counted are missing, and an answer is
// partial when something is missing, when counted_through is not known, or
// when it lies more than two minutes behind what the answer is about. If
// ClickHouse does not answer there is a problem document and never a figure.
// The package keeps nothing that a restart could lose.
//
// # Words
//
// In the order in which a request for the dashboard meets them (GetDashboard):
//
//   - asked: a range as a reader asked for it, before clock and zone make instants of it
//   - turn, slot: so many questions are answered at once, and the others wait
//   - standing: what holds for an answer before any figure is read, the range with it
//   - watermark: how far the workspace's events are counted, by the progress of its
//     partitions; their positions in the ledger say whether more has been counted
//   - settings, directory: what a workspace, its agents and its members were at an instant
//   - question: what figures are asked for, in instants; its bars lie between edges
//   - comparison: the bars of another time, to compare with
//   - history: the bars of the weeks before, by which spikes are told from what is usual
//   - tally: a sum of credits, messages and events
//   - totals: what the whole workspace used, by hour, read before what must add up to it
//   - held: kept in memory, for as long as it adds up
//   - unit, cell: a stretch of whole hours that is held, and what an agent used in a part of it
//   - piece: the part of a bar, of the range, its comparison or its history, that one unit answers
//   - reading: how a question is answered, from what is held or not, and what is known so far
//   - flight: what several questions that need the same ask of ClickHouse once
//   - tier, family, plan: a rollup or the ledger; those that keep one kind of figures; and
//     which of them is read for which stretch of time
//   - statement, branch, part: SQL with its parameters, a SELECT of it that reads one tier,
//     and what a row is for
//   - figures: the tallies of a question by bar and agent, and what they add up to
//   - surroundings: what an answer says beside them: what is usual, who has sent events,
//     when the last usage was
//   - answer: what the contract calls it, made of all this; its entity tag says whether it
//     would be another one
//   - place, fingerprint: where a page of a list ends, and of which question it is a page
package query

// Package importer sends files of usage events to Agentmeter's write side.
//
// In flow NDJSON or CSV files, gzip or not, or the standard input; out flow
// batches to POST /v1/events and, for people, progress on stderr and the result
// on stdout: which lines were rejected and why, and one summary line a file.
//
// What it promises:
//
//   - Every line that is not blank is answered for exactly once, as accepted or
//     as rejected, or the file is reported as not finished. Lines are never
//     skipped, repaired or guessed at in silence.
//   - Whatever happens on the way (a restarted server, a lost answer, kill -9 of
//     the import itself), running the same command again completes the import,
//     and nothing counts twice: ids count once, so sending again is safe.
//   - A run that was cut short goes on where its answers end. The note of that
//     place belongs to one file, one content and one destination; when any of
//     them has changed the file starts over.
//   - Memory is bounded by the batches in flight, whatever the file holds.
//   - Misuse (a missing file, an unknown CSV column) is found in all files
//     before anything of any file is sent.
//   - FILE.rejected.ndjson holds each rejected line with its number, the reason and
//     the event; its events corrected in place, it is itself a file to import.
//
// Whether an event is acceptable is the server's to judge. The importer itself
// rejects only what it cannot send: lines over 1 MiB, and CSV records that do
// not have a value for each column.
package importer

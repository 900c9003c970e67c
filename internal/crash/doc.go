// Package crash proves, with real processes and real signals, that counting
// survives anything.
//
// In flow a seed and a number of kills. The harness starts broker, engine,
// ingest, query and several rollups as processes of a test build, sends events
// through producers of its own, which keep their own list of what they sent and
// what was acknowledged, and meanwhile kills, stops and cuts off everything at
// random moments and at the named points of internal/fault. Out flows a Report:
// the list compared, id by id, with Kafka's log, the ledger, every rollup tier
// and the dashboard's answers.
//
// The schedule of faults comes from the seed; when exactly each of them falls
// is up to the machine, so a run can be repeated but not replayed. A verdict
// that finds something keeps the data directory and says how to look at it.
// Nothing of a run outlives the harness, however it ends.
//
// Two other runs use the same processes: Overload brings more load than they can
// serve, Soak goes on for long and looks for growth.
package crash

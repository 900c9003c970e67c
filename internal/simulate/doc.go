// Package simulate makes agent traffic: the history and the trickle of the
// demo, load for `agentmeter simulate`, and events for benches.
//
// In flow a seed and a small model (a Profile for traffic that looks real, a
// Workload for volume); out flow events, which a Sender posts to the write
// side.
//
// What it promises: the same seed gives the same events, byte for byte, on
// every machine, since only integers are computed with; every event passes
// Validate; times do not decrease; ids are UUIDs that never repeat, and an id
// never stands for two different events, so that whatever is sent again is
// recognised. A Sender has a bounded number of batches under way and queues
// nothing: where the server is slower than the traffic, events are left out,
// counted and reported.
package simulate

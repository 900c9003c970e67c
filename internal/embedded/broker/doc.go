// Package broker runs a Kafka-speaking broker inside this process.
//
// # In and out
//
// In: the Kafka protocol on a loopback listener, from franz-go, librdkafka
// (kcat) or any other client. Out: the same records, in the same order, from
// files in a data directory. The broker is franz-go's kfake; this package adds
// what a broker needs that keeps somebody's records:
//
//   - Append time. kfake stores the producer's timestamps whatever the topic's
//     configuration says, and a batch that claims to carry append time breaks
//     its own checksum (after a restart the log ends there). So every batch is
//     stamped on its way in: no record's time is in the future of its append,
//     nor more than a second older; see stamp. Topics report
//     message.timestamp.type=LogAppendTime, and it is the only behaviour.
//   - Retention that keeps the last batch of each partition. kfake's own would
//     drop it, and a partition without files starts again at offset 0 after a
//     kill. Its own ticker is switched off; DeleteRecords from outside is held to the same.
//   - A lock on the data directory, and loopback addresses only.
//   - A look at each request's frame before kfake allocates what it announces or
//     stumbles over a key that it does not know: a stray HTTP request would
//     otherwise take a gigabyte, or the process, along.
//
// # What is promised
//
// An acknowledged record is in the kernel's page cache: it survives kill -9 of
// the process, not the loss of power. Offsets, topic ids, committed offsets and
// the cluster id survive too. Group members don't: they join again. Idempotence
// windows are saved by Close only, so that after a kill a producer's retry may
// be stored twice; whoever counts must recognise ids.
//
// Topics are not made here, nor on demand: clients create them.
package broker

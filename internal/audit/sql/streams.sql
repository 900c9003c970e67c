-- The streams that the ledger knows, the latest of a topic first.
SELECT stream, topic, partitions, starts FROM usage_streams ORDER BY topic, adopted_at DESC, stream

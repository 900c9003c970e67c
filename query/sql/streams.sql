-- The streams that the ledger knows, with their partitions.
SELECT stream, max(partitions) AS partitions
FROM usage_streams
GROUP BY stream
FORMAT Native

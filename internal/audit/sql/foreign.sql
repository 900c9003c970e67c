-- The streams and partitions that a table holds rows of.
SELECT stream, partition, toInt64(count()) AS rows
FROM {{.}}
GROUP BY stream, partition
ORDER BY stream, partition

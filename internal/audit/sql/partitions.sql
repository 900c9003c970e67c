-- Whether the ledger of each partition is an unbroken run of offsets, and ends where its last block says.
SELECT
    stream,
    partition,
    toInt64(count()) AS rows,
    toInt64(uniqExact(offset)) AS offsets,
    min(offset) AS lowest,
    max(offset) AS highest,
    max(block_hi) AS last_hi
FROM usage_ledger
WHERE stream = {stream:UUID} AND partition = {partition:Int32}
GROUP BY stream, partition

-- Where the ledger of a partition ends: its last block, with how many rows and distinct offsets it really has.
SELECT
    block_lo,
    block_hi,
    toInt64(count()) AS rows,
    toInt64(uniqExact(offset)) AS offsets,
    min(kafka_time) AS first_time,
    max(kafka_time) AS last_time,
    argMax(CAST(detail, 'String'), offset) AS last_detail
FROM usage_ledger
WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >=
(
    SELECT block_lo
    FROM usage_ledger
    WHERE stream = {stream:UUID} AND partition = {partition:Int32}
    ORDER BY stream DESC, partition DESC, offset DESC
    LIMIT 1
)
GROUP BY block_lo, block_hi
FORMAT Native

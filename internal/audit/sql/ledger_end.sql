-- Where the ledger of a partition ends: its last row, and the block that it says it is in.
SELECT block_lo, block_hi, offset
FROM usage_ledger
WHERE stream = {stream:UUID} AND partition = {partition:Int32}
ORDER BY stream DESC, partition DESC, offset DESC
LIMIT 1

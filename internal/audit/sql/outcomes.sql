-- What became of the offsets of a partition.
SELECT toString(outcome) AS name, toInt64(count()) AS rows
FROM usage_ledger
WHERE stream = {stream:UUID} AND partition = {partition:Int32}
GROUP BY outcome

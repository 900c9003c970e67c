-- Where a partition's ledger ended when its consumer last said so: the first offset that was not confirmed.
SELECT toInt64(argMaxIf(position, updated_at, position >= 0)) AS confirmed
FROM rollup_progress
WHERE stream = {stream:UUID} AND partition = {partition:Int32}
FORMAT Native

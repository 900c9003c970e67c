-- The rows of a partition between two offsets, by stretches: how many, how many distinct offsets, and what became of them.
SELECT
    intDiv(offset, {chunk:Int64}) AS stretch,
    toInt64(count()) AS rows,
    toInt64(groupBitmap(toUInt64(offset))) AS offsets,
    min(offset) AS lowest,
    max(offset) AS highest,
    toInt64(countIf(outcome = 'counted')) AS counted,
    toInt64(countIf(outcome = 'playground')) AS playground,
    toInt64(countIf(outcome = 'adjustment')) AS adjustment,
    toInt64(countIf(outcome = 'duplicate')) AS duplicate,
    toInt64(countIf(outcome = 'invalid')) AS invalid,
    toInt64(countIf(outcome = 'gap')) AS gap,
    toInt64(countIf(outcome = 'erased')) AS erased
FROM usage_ledger
WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
GROUP BY stretch
ORDER BY stretch

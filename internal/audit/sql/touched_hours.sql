-- The hours that the events of a stretch of offsets fall into.
SELECT DISTINCT toInt64(toUnixTimestamp(toStartOfHour(occurred_at))) AS hour
FROM usage_ledger
WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
    AND {{recorded}}
ORDER BY hour

-- How many rows of the ledger and of one rollup each hour of a partition has, to cut its time into stretches of like size.
SELECT hour, toInt64(sum(n)) AS rows
FROM
(
    SELECT toUnixTimestamp(toStartOfHour(occurred_at)) AS hour, count() AS n
    FROM usage_ledger
    WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND outcome IN ({{.Outcomes}})
        AND occurred_at >= toDateTime64({from:UInt32}, 6, 'UTC') AND occurred_at < toDateTime64({through:UInt32}, 6, 'UTC') + INTERVAL 1 SECOND
    GROUP BY hour
    UNION ALL
    SELECT toUnixTimestamp(toStartOfHour(time)) AS hour, count() AS n
    FROM {{.Table}}
    WHERE stream = {stream:UUID} AND partition = {partition:Int32}
        AND time >= toDateTime({from:UInt32}, 'UTC') AND time <= toDateTime({through:UInt32}, 'UTC')
    GROUP BY hour
)
GROUP BY hour
ORDER BY hour

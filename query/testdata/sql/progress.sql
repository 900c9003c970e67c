-- How far each partition of the live stream has been counted, as its consumer last said. What was claimed at a position
-- that the ledger does not reach any more, since it was set back, does not hold.
SELECT
    partition,
    any(partitions) AS partitions,
    any(latest) AS position,
    toInt64(toUnixTimestamp64Milli(maxIf(counted_through, claimed_at <= latest))) AS counted_through,
    argMax(halted, updated_at) != '' AS halted,
    toInt64(toUnixTimestamp64Milli(argMax(halted_from, updated_at))) AS halted_from
FROM
(
    SELECT partition, partitions, position AS claimed_at, counted_through, halted, halted_from, updated_at,
        argMax(position, updated_at) OVER (PARTITION BY partition) AS latest
    FROM rollup_progress
    WHERE stream = (SELECT stream FROM usage_streams WHERE topic = {topic:String} ORDER BY adopted_at DESC, stream LIMIT 1)
)
GROUP BY partition
FORMAT Native

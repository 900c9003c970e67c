-- How far each partition of the live stream has been counted, as its consumer last said.
SELECT
    partition,
    any(partitions) AS partitions,
    argMax(position, updated_at) AS position,
    toInt64(toUnixTimestamp64Milli(max(counted_through))) AS counted_through,
    argMax(halted, updated_at) != '' AS halted,
    toInt64(toUnixTimestamp64Milli(argMax(halted_from, updated_at))) AS halted_from
FROM rollup_progress
WHERE stream = (SELECT stream FROM usage_streams WHERE topic = {topic:String} ORDER BY adopted_at DESC, stream LIMIT 1)
GROUP BY partition
FORMAT Native

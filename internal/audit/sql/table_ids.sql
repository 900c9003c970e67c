-- What the id look-up holds, by partition and stretches of offsets, in the same form.
SELECT
    stream,
    partition,
    intDiv(offset, {chunk:Int64}) AS stretch,
    toInt64(countIf(offset < below)) AS ids,
    toString(sumIf(reinterpretAsUInt128(sipHash128(id_key, offset)), offset < below)) AS checksum,
    max(offset) AS highest
FROM usage_id_places
LEFT JOIN
(
    SELECT entry.1 AS stream, entry.2 AS partition, entry.3 AS below
    FROM (SELECT arrayJoin(arrayZip({streams:Array(UUID)}, {partitions:Array(Int32)}, {belows:Array(Int64)})) AS entry)
) AS ends USING (stream, partition)
GROUP BY stream, partition, stretch

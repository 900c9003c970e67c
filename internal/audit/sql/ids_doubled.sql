-- Which events, among those of some keys, the look-up has more than once, as the ledger's text tells ids apart: those that the ledger recorded more than once, and those that it did not, each with how many rows are too many, and the first of them.
WITH looked_up AS
(
    SELECT id_key, stream, partition, offset, count() AS n
    FROM usage_id_places
    WHERE id_key IN (SELECT arrayJoin({keys:Array(UInt64)}))
    GROUP BY id_key, stream, partition, offset
)
SELECT
    toInt64(countIf(events > 1)) AS recorded,
    toInt64(sumIf(rows - 1, events > 1)) AS recorded_surplus,
    toString(tupleElement(minIf(first, events > 1), 1)) AS recorded_stream,
    toInt64(tupleElement(minIf(first, events > 1), 2)) AS recorded_partition,
    arrayStringConcat(groupArraySortedIf(5)(text, events > 1), '; ') AS some_recorded,
    toInt64(countIf(events <= 1)) AS held,
    toInt64(sumIf(rows - 1, events <= 1)) AS held_surplus,
    toString(tupleElement(minIf(first, events <= 1), 1)) AS held_stream,
    toInt64(tupleElement(minIf(first, events <= 1), 2)) AS held_partition,
    arrayStringConcat(groupArraySortedIf(5)(text, events <= 1), '; ') AS some_held
FROM
(
    SELECT
        places.id_key AS id_key,
        CAST(recorded.workspace, 'String') AS owner,
        recorded.event_id AS id,
        sum(places.n) AS rows,
        sum(recorded.events) AS events,
        concat(if(id = '', concat('key ', toString(id_key)), concat(owner, '/', id)), ' at ', arrayStringConcat(arraySort(groupArray(concat(toString(places.stream), '/', toString(places.partition), '/', toString(places.offset), if(recorded.events = 0, ' (not in the ledger)', '')))), ' and ')) AS text,
        min((places.stream, places.partition)) AS first
    FROM looked_up AS places
    LEFT JOIN
    (
        SELECT {{idKey}} AS id_key, stream, partition, offset, workspace, event_id, count() AS events
        FROM usage_ledger
        WHERE {{recorded}} AND (stream, partition, offset) IN (SELECT stream, partition, offset FROM looked_up)
        GROUP BY id_key, stream, partition, offset, workspace, event_id
    ) AS recorded ON places.id_key = recorded.id_key AND places.stream = recorded.stream AND places.partition = recorded.partition AND places.offset = recorded.offset
    -- What is not recorded at its place is one with nothing but itself.
    GROUP BY id_key, owner, id, if(recorded.events = 0, (places.stream, places.partition, places.offset), (toUUID('00000000-0000-0000-0000-000000000000'), 0::Int32, 0::Int64))
    HAVING rows > 1
)

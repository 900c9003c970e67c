-- Which events, among those of some keys, the look-up has more than once, as the ledger's text tells ids apart: how many, how many rows are too many, how many of them the ledger recorded more than once, and the first of them.
WITH looked_up AS
(
    SELECT id_key, stream, partition, offset, count() AS n
    FROM usage_id_places
    WHERE id_key IN (SELECT arrayJoin({keys:Array(UInt64)}))
    GROUP BY id_key, stream, partition, offset
)
SELECT
    toInt64(count()) AS ids,
    toInt64(sum(rows) - count()) AS surplus,
    toInt64(countIf(events > 1)) AS recorded_again,
    toString(tupleElement(min(first), 1)) AS stream,
    toInt64(tupleElement(min(first), 2)) AS partition,
    arrayStringConcat(groupArraySorted(5)(concat(if(id = '', concat('key ', toString(id_key)), concat(owner, '/', id)), ' at ', arrayStringConcat(places, ' and '))), '; ') AS some
FROM
(
    SELECT
        places.id_key AS id_key,
        CAST(recorded.workspace, 'String') AS owner,
        recorded.event_id AS id,
        sum(places.n) AS rows,
        sum(recorded.events) AS events,
        arraySort(groupArray(concat(toString(places.stream), '/', toString(places.partition), '/', toString(places.offset), if(recorded.events = 0, ' (not in the ledger)', '')))) AS places,
        min((places.stream, places.partition)) AS first
    FROM looked_up AS places
    LEFT JOIN
    (
        SELECT {{idKey}} AS id_key, stream, partition, offset, workspace, event_id, count() AS events
        FROM usage_ledger
        WHERE outcome IN ('counted', 'playground', 'adjustment') AND (stream, partition, offset) IN (SELECT stream, partition, offset FROM looked_up)
        GROUP BY id_key, stream, partition, offset, workspace, event_id
    ) AS recorded ON places.id_key = recorded.id_key AND places.stream = recorded.stream AND places.partition = recorded.partition AND places.offset = recorded.offset
    GROUP BY id_key, owner, id
    HAVING rows > 1
)

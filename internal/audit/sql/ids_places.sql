-- Where the events of some ids (hexadecimal) stand, according to the id look-up and to the ledger.
SELECT
    hex(ids.id_hash) AS hash,
    ids.stream AS stream,
    ids.partition AS partition,
    ids.offset AS offset,
    toInt64(any(ids.n)) AS looked_up,
    toInt64(countIf(recorded.event_id != '')) AS in_ledger,
    any(CAST(recorded.workspace, 'String')) AS workspace,
    any(recorded.event_id) AS event_id
FROM
(
    SELECT id_hash, stream, partition, offset, count() AS n
    FROM usage_ids
    WHERE id_hash IN (SELECT toFixedString(unhex(arrayJoin(splitByChar(',', {hashes:String}))), 16))
    GROUP BY id_hash, stream, partition, offset
) AS ids
LEFT JOIN
(
    SELECT stream, partition, offset, workspace, event_id
    FROM usage_ledger
    WHERE outcome IN ('counted', 'playground', 'adjustment')
        AND (stream, partition, offset) IN
        (
            SELECT stream, partition, offset
            FROM usage_ids
            WHERE id_hash IN (SELECT toFixedString(unhex(arrayJoin(splitByChar(',', {hashes:String}))), 16))
        )
) AS recorded ON ids.stream = recorded.stream AND ids.partition = recorded.partition AND ids.offset = recorded.offset
GROUP BY hash, stream, partition, offset
ORDER BY hash, stream, partition, offset

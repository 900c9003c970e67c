-- Of the events that a stretch of offsets recorded: how many, how many of their ids are looked up at their own place, and how many more rows the look-up has of these ids.
WITH recorded AS
(
    SELECT toFixedString(substring(SHA256(concat(workspace, '\0', event_id)), 1, 16), 16) AS hash, offset
    FROM usage_ledger
    WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
        AND outcome IN ('counted', 'playground', 'adjustment')
)
SELECT
    (SELECT toInt64(uniqExact(hash, offset)) FROM recorded) AS events,
    toInt64(sum(own)) AS placed,
    toInt64(sum(n) - sum(own)) AS surplus,
    arrayStringConcat(groupArrayIf(5)(hex(id_hash), n > 1), ',') AS some
FROM
(
    SELECT id_hash, count() AS n, uniqExactIf(offset, stream = {stream:UUID} AND partition = {partition:Int32} AND (id_hash, offset) IN (SELECT hash, offset FROM recorded)) AS own
    FROM usage_ids
    WHERE id_hash IN (SELECT hash FROM recorded)
    GROUP BY id_hash
)

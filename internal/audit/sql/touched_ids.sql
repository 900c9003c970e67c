-- Of the events that a stretch of offsets recorded: how many, how many of their ids are looked up at their own place, and of which keys the look-up has more than one row.
WITH recorded AS
(
    SELECT {{idKey}} AS key, offset
    FROM usage_ledger
    WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
        AND {{recorded}}
)
SELECT
    (SELECT toInt64(uniqExact(key, offset)) FROM recorded) AS events,
    toInt64(sum(own)) AS placed,
    toInt64(countIf(n > 1)) AS shared,
    arrayStringConcat(groupArrayIf({listed:UInt64})(toString(id_key), n > 1), ',') AS some
FROM
(
    SELECT id_key, count() AS n, uniqExactIf(offset, stream = {stream:UUID} AND partition = {partition:Int32} AND (id_key, offset) IN (SELECT key, offset FROM recorded)) AS own
    FROM usage_id_places
    WHERE id_key IN (SELECT key FROM recorded)
    GROUP BY id_key
)

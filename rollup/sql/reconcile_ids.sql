-- Add the ids of a block that the id look-up lacks.
INSERT INTO usage_id_places (id_key, stream, partition, offset)
WITH block AS
(
    SELECT {{idKey}} AS key, offset
    FROM usage_ledger
    PREWHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
    WHERE {{recorded}}
)
SELECT key, {stream:UUID}, {partition:Int32}, offset
FROM block
WHERE (offset, key) NOT IN
(
    SELECT offset, id_key
    FROM usage_id_places
    PREWHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
    WHERE indexHint(id_key IN (SELECT key FROM block))
)

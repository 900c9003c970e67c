-- Add the ids of a block that the id look-up lacks.
INSERT INTO usage_ids (id_hash, stream, partition, offset)
WITH block AS
(
    SELECT toFixedString(substring(SHA256(concat(workspace, '\0', event_id)), 1, 16), 16) AS hash, offset
    FROM usage_ledger
    PREWHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
    WHERE outcome IN ('counted', 'playground', 'adjustment')
)
SELECT hash, {stream:UUID}, {partition:Int32}, offset
FROM block
WHERE (offset, hash) NOT IN
(
    SELECT offset, id_hash
    FROM usage_ids
    PREWHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
    WHERE indexHint(id_hash IN (SELECT hash FROM block))
)

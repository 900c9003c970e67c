-- Add the ids of a block that the id look-up lacks.
INSERT INTO usage_ids (id_hash, stream, partition, offset)
WITH block AS
(
    SELECT toFixedString(substring(SHA256(concat(workspace, '\0', event_id)), 1, 16), 16) AS hash, offset
    FROM usage_ledger
    WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
        AND outcome IN ('counted', 'playground', 'adjustment')
)
SELECT hash, {stream:UUID}, {partition:Int32}, offset
FROM block
WHERE offset NOT IN
(
    SELECT offset
    FROM usage_ids
    WHERE id_hash IN (SELECT hash FROM block) AND stream = {stream:UUID} AND partition = {partition:Int32}
)

-- The first offsets of a stretch whose event was recorded and whose id cannot be looked up.
SELECT offset
FROM usage_ledger
WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
    AND outcome IN ('counted', 'playground', 'adjustment')
    AND (toFixedString(substring(SHA256(concat(workspace, '\0', event_id)), 1, 16), 16), offset) NOT IN
    (
        SELECT id_hash, offset
        FROM usage_ids
        WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
    )
ORDER BY offset
LIMIT 5

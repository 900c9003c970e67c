-- The first offsets of a stretch that the id look-up names and at which the ledger recorded no such event.
SELECT offset
FROM usage_id_places
WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
    AND (id_key, offset) NOT IN
    (
        SELECT {{idKey}}, offset
        FROM usage_ledger
        WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
            AND {{recorded}}
    )
    -- Of an erased event the ledger has no id any more.
    AND offset NOT IN
    (
        SELECT offset FROM usage_ledger
        WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64} AND outcome = 'erased'
    )
ORDER BY offset
LIMIT 5

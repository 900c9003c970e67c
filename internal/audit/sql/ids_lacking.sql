-- The first offsets of a stretch whose event was recorded and whose id cannot be looked up.
SELECT offset
FROM usage_ledger
WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
    AND {{recorded}}
    AND ({{idKey}}, offset) NOT IN
    (
        SELECT id_key, offset
        FROM usage_id_places
        WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
    )
ORDER BY offset
LIMIT 5

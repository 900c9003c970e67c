-- The first offsets of a stretch that the ledger has more than once.
SELECT offset
FROM usage_ledger
WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
GROUP BY offset
HAVING count() > 1
ORDER BY offset
LIMIT 5

-- The first offsets of a stretch that the ledger lacks.
SELECT toInt64(number) AS missing
FROM numbers({lo:UInt64}, {length:UInt64})
WHERE toInt64(number) NOT IN
(
    SELECT offset
    FROM usage_ledger
    WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= toInt64({lo:UInt64}) AND offset < toInt64({lo:UInt64} + {length:UInt64})
)
ORDER BY missing
LIMIT 5

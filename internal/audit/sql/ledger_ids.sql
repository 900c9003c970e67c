-- What the id look-up must hold of a partition below an offset: how many ids by stretches of offsets, and a sum of hashes in which their order has no part.
SELECT
    intDiv(offset, {chunk:Int64}) AS stretch,
    toInt64(count()) AS ids,
    toString(sum(reinterpretAsUInt128(sipHash128({{idKey}}, offset)))) AS checksum
FROM usage_ledger
WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset < {below:Int64} AND {{recorded}}
GROUP BY stretch

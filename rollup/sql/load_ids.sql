-- The keys that the filter of a partition has to hold, from one stretch of the table: those of its own ids, and of other streams'.
SELECT id_key
FROM usage_id_places
PREWHERE id_key >= {from:UInt64} AND id_key <= {through:UInt64}
    AND (stream != {stream:UUID} OR partition = {partition:Int32})
FORMAT Native

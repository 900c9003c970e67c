-- The ids that the filter of a partition has to hold, from one stretch of the table: its own, and those of other streams.
SELECT id_hash
FROM usage_ids
PREWHERE id_hash >= toFixedString(unhex({from:String}), 16) AND id_hash <= toFixedString(unhex({through:String}), 16)
    AND (stream != {stream:UUID} OR partition = {partition:Int32})
FORMAT Native

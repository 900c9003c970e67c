-- About how many ids the filter of a partition has to hold: its own, and those of other streams.
SELECT toInt64(count()) AS ids
FROM usage_id_places
WHERE stream != {stream:UUID} OR partition = {partition:Int32}
FORMAT Native

-- How many rows the id look-up has.
SELECT toInt64(count()) AS ids FROM usage_id_places
FORMAT Native

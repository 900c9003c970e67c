-- How many rows the id look-up has.
SELECT toInt64(count()) AS rows FROM usage_id_places

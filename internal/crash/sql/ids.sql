-- How many rows the id look-up has, and how many different ones.
SELECT count(), uniqExact(id_key, stream, partition, offset) FROM usage_id_places FORMAT TabSeparated

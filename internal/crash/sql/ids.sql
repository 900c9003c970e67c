-- Ids that the look-up holds more than once, and how many it holds.
SELECT count(), uniqExact(id_hash) FROM usage_ids FORMAT TabSeparated

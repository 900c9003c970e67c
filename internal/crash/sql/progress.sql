-- How far each partition is confirmed, and why it stands still, if it does.
SELECT partition, position, halted, toUnixTimestamp64Milli(updated_at) FROM rollup_progress FINAL ORDER BY partition FORMAT TabSeparated

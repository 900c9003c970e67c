-- Where the ids of these hashes (hexadecimal, comma-separated) were recorded first.
SELECT id_hash, stream, partition, min(offset) AS first_offset
FROM usage_ids
WHERE id_hash IN (SELECT toFixedString(unhex(arrayJoin(splitByChar(',', '{{.Hashes}}'))), 16))
GROUP BY id_hash, stream, partition
FORMAT Native

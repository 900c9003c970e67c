-- Where ids were recorded, given {{.Count}} hashes in base64 of {{.Width}} bytes each: few whole ones, found through the primary key, or many shortened ones, for which every granule is read anyway. An id whose hash only begins like one of them may come along.
WITH base64Decode('{{.Hashes}}') AS hashes
SELECT id_hash, stream, partition, offset
FROM usage_ids
PREWHERE reinterpretAsUInt64(id_hash) IN (SELECT reinterpretAsUInt64(substring(hashes, 1 + {{.Width}} * number, 8)) FROM numbers({{.Count}}))
{{- if eq .Width 16}}
WHERE indexHint(id_hash IN (SELECT toFixedString(substring(hashes, 1 + 16 * number, 16), 16) FROM numbers({{.Count}})))
{{- end}}
FORMAT Native

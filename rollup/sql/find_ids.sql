-- Where ids may have been recorded, given the keys of {{.Count}} in base64 of {{.Width}} bytes each. Of another id with the same key the place comes along.
WITH base64Decode('{{.Keys}}') AS keys
SELECT id_key, stream, partition, offset
FROM usage_id_places
PREWHERE id_key IN (SELECT reinterpretAsUInt64(substring(keys, 1 + {{.Width}} * number, {{.Width}})) FROM numbers({{.Count}}))
FORMAT Native

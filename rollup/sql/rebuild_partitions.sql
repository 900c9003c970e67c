-- Every partition of every stream of which there is anything.
SELECT stream, partition
FROM
(
    SELECT stream, toInt32(arrayJoin(range(toUInt32(partitions)))) AS partition FROM usage_streams
    UNION ALL
    SELECT stream, partition FROM usage_ledger GROUP BY stream, partition
    UNION ALL
    SELECT stream, partition FROM usage_id_places GROUP BY stream, partition
{{- range .}}
    UNION ALL
    SELECT stream, partition FROM {{.Table}} GROUP BY stream, partition
{{- end}}
)
GROUP BY stream, partition
ORDER BY stream, partition

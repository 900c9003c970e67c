-- The streams and partitions that no adopted stream has and a table holds rows of: of a rollup, rows that add up to something, since a repair leaves zeros.
SELECT stream, partition, toInt64(count()) AS rows
FROM
(
    SELECT stream, partition
    FROM {{.Table}}
    WHERE (stream, partition) NOT IN (SELECT stream, toInt32(arrayJoin(range(toUInt32(partitions)))) FROM usage_streams)
{{- with .Rollup}}
    GROUP BY workspace, time, {{if .ByAgent}}agent, {{end}}stream, partition
    HAVING {{if .Credits}}sum(credits) != 0 OR {{end}}sum(messages) != 0 OR sum(events) != 0
{{- end}}
)
GROUP BY stream, partition
ORDER BY stream, partition

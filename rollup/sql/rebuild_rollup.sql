{{/* What one rollup lacks of the ledger (below zero: has too much) of a partition, in the buckets from one time through another. */ -}}
{{define "difference" -}}
SELECT workspace, time, {{if .ByAgent}}agent, {{end}}{stream:UUID} AS rebuilt_stream, {partition:Int32} AS rebuilt_partition, {{if .Credits}}sum(difference_credits) AS c, {{end}}sum(difference_messages) AS m, sum(difference_events) AS e
FROM
(
    SELECT workspace, {{.Bucket}} AS time, {{if .ByAgent}}agent, {{end}}toInt128(credits) AS difference_credits, messages AS difference_messages, toInt64(1) AS difference_events
    FROM usage_ledger
    WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND outcome IN ({{.Outcomes}})
        AND occurred_at >= toDateTime64({from:UInt32}, 6, 'UTC') AND occurred_at < toDateTime64({through:UInt32}, 6, 'UTC') + INTERVAL 1 SECOND
    UNION ALL
    SELECT workspace, time, {{if .ByAgent}}agent, {{end}}{{if .Credits}}-credits{{else}}toInt128(0){{end}}, -messages, -events
    FROM {{.Table}}
    WHERE stream = {stream:UUID} AND partition = {partition:Int32}
        AND time >= toDateTime({from:UInt32}, 'UTC') AND time <= toDateTime({through:UInt32}, 'UTC')
)
GROUP BY workspace, time{{if .ByAgent}}, agent{{end}}
HAVING {{if .Credits}}c != 0 OR {{end}}m != 0 OR e != 0
{{- end}}

{{- /* In how many buckets the two differ, and by how much. */ -}}
{{define "compare" -}}
SELECT toInt64(count()), toString({{if .Credits}}sum(abs(c)){{else}}0{{end}}), toInt64(sum(abs(e)))
FROM
(
{{template "difference" .}}
)
{{- end}}

{{- define "repair" -}}
INSERT INTO {{.Table}} (workspace, time, {{if .ByAgent}}agent, {{end}}stream, partition, {{if .Credits}}credits, {{end}}messages, events)
{{template "difference" .}}
{{- end}}

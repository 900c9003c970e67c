-- Make one rollup equal to the ledger, in every bucket of a partition that a block touches, by adding the difference.
INSERT INTO {{.Table}} (workspace, time, {{if .ByAgent}}agent, {{end}}stream, partition, {{if .Credits}}credits, {{end}}messages, events)
WITH touched AS
(
    SELECT DISTINCT workspace, {{.Bucket}} AS time
    FROM usage_ledger
    PREWHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
    WHERE outcome IN ({{.Outcomes}})
),
(SELECT (min(time), max(time)) FROM touched) AS span
SELECT workspace, time, {{if .ByAgent}}agent, {{end}}{stream:UUID}, {partition:Int32}, {{if .Credits}}sum(difference_credits) AS c, {{end}}sum(difference_messages) AS m, sum(difference_events) AS e
FROM
(
    SELECT workspace, {{.Bucket}} AS time, {{if .ByAgent}}agent, {{end}}toInt128(credits) AS difference_credits, messages AS difference_messages, toInt64(1) AS difference_events
    FROM usage_ledger
    PREWHERE stream = {stream:UUID} AND partition = {partition:Int32}
        AND occurred_at >= toDateTime64(span.1, 6, 'UTC') AND occurred_at < toDateTime64(span.2, 6, 'UTC') + INTERVAL {{.StepSeconds}} SECOND
    WHERE outcome IN ({{.Outcomes}}) AND cityHash64(workspace, {{.Bucket}}) IN (SELECT cityHash64(workspace, time) FROM touched)
    UNION ALL
    SELECT workspace, time, {{if .ByAgent}}agent, {{end}}{{if .Credits}}-credits{{else}}toInt128(0){{end}}, -messages, -events
    FROM {{.Table}}
    PREWHERE stream = {stream:UUID} AND partition = {partition:Int32} AND time >= span.1 AND time <= span.2
    WHERE cityHash64(workspace, time) IN (SELECT cityHash64(workspace, time) FROM touched)
)
GROUP BY workspace, time{{if .ByAgent}}, agent{{end}}
HAVING {{if .Credits}}c != 0 OR {{end}}m != 0 OR e != 0

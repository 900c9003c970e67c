-- Make one rollup equal to the ledger, in every bucket of a partition that a block touches, by adding the difference.
INSERT INTO {{.Table}} (workspace, time, {{if .ByAgent}}agent, {{end}}stream, partition, {{if .Credits}}credits, {{end}}messages, events)
WITH touched AS
(
    SELECT DISTINCT workspace, {{.Bucket}} AS time
    FROM usage_ledger
    WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64} AND outcome IN ({{.Outcomes}})
)
SELECT workspace, time, {{if .ByAgent}}agent, {{end}}{stream:UUID}, {partition:Int32}, {{if .Credits}}sum(difference_credits) AS c, {{end}}sum(difference_messages) AS m, sum(difference_events) AS e
FROM
(
    SELECT workspace, {{.Bucket}} AS time, {{if .ByAgent}}agent, {{end}}toInt128(credits) AS difference_credits, messages AS difference_messages, toInt64(1) AS difference_events
    FROM usage_ledger
    WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND outcome IN ({{.Outcomes}})
        AND occurred_at >= (SELECT toDateTime64(min(time), 6, 'UTC') FROM touched)
        AND occurred_at < (SELECT toDateTime64(max(time), 6, 'UTC') FROM touched) + INTERVAL {{.StepSeconds}} SECOND
        AND (workspace, {{.Bucket}}) IN (SELECT workspace, time FROM touched)
    UNION ALL
    SELECT workspace, time, {{if .ByAgent}}agent, {{end}}{{if .Credits}}-credits{{else}}toInt128(0){{end}}, -messages, -events
    FROM {{.Table}}
    WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND (workspace, time) IN (SELECT workspace, time FROM touched)
)
GROUP BY workspace, time{{if .ByAgent}}, agent{{end}}
HAVING {{if .Credits}}c != 0 OR {{end}}m != 0 OR e != 0

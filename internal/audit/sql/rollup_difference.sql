-- In how many buckets of a partition one rollup differs from the ledger, and by how much.
SELECT
    toInt64(count()) AS buckets,
    toString(sum(abs(c))) AS credits,
    toString(sum(abs(m))) AS messages,
    toString(sum(abs(e))) AS events
FROM
(
    SELECT workspace, time{{if .ByAgent}}, agent{{end}}, sum(difference_credits) AS c, sum(difference_messages) AS m, sum(difference_events) AS e
    FROM
    (
        SELECT workspace, {{.Bucket}} AS time{{if .ByAgent}}, agent{{end}}, toInt128(credits) AS difference_credits, messages AS difference_messages, toInt64(1) AS difference_events
        FROM usage_ledger
        WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND outcome IN ({{.Outcomes}}){{if .RetentionDays}} AND occurred_at >= toStartOfHour(now('UTC')) - INTERVAL {{.AuditDays}} DAY{{end}}
        UNION ALL
        SELECT workspace, time{{if .ByAgent}}, agent{{end}}, {{if .Credits}}-credits{{else}}toInt128(0){{end}}, -messages, -events
        FROM {{.Table}}
        WHERE stream = {stream:UUID} AND partition = {partition:Int32}{{if .RetentionDays}} AND time >= toStartOfHour(now('UTC')) - INTERVAL {{.AuditDays}} DAY{{end}}
    )
    GROUP BY workspace, time{{if .ByAgent}}, agent{{end}}
    HAVING c != 0 OR m != 0 OR e != 0
)

-- Which rollups lack something of a partition's last block. A rollup can only lack events, and only of that block, so
-- where its sums equal the ledger's over the days that the block touches, it lacks none. One pass over the ledger
-- tells, which reads no text; where it is not certain, a rollup is named.
WITH
(
    SELECT (min(toStartOfDay(occurred_at)), max(toStartOfDay(occurred_at)))
    FROM usage_ledger
    PREWHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64}
    WHERE outcome IN ('counted', 'adjustment', 'playground')
) AS days,
(
    SELECT ({{range $i, $r := .}}{{if $i}}, {{end}}({{if $r.Credits}}sumIf(toInt128(credits), outcome IN ({{$r.Outcomes}})){{else}}toInt128(0){{end}}, toInt64(sumIf(messages, outcome IN ({{$r.Outcomes}}))), toInt64(countIf(outcome IN ({{$r.Outcomes}})))){{end}})
    FROM usage_ledger
    PREWHERE stream = {stream:UUID} AND partition = {partition:Int32} AND occurred_at >= days.1 AND occurred_at < days.2 + INTERVAL 1 DAY
) AS recorded
{{range $i, $r := .}}{{if $i}}UNION ALL
{{end}}SELECT '{{$r.Table}}' AS rollup
FROM {{$r.Table}}
PREWHERE stream = {stream:UUID} AND partition = {partition:Int32} AND time >= days.1 AND time < days.2 + INTERVAL 1 DAY
HAVING ({{if $r.Credits}}toInt128(sum(credits)){{else}}toInt128(0){{end}}, toInt64(sum(messages)), toInt64(sum(events))) != recorded.{{inc $i}}
{{end}}FORMAT Native

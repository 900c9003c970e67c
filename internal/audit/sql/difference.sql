-- In which buckets of a partition a rollup differs from what it must equal: the ledger, or a finer rollup.
SELECT
    toInt64(count()) AS buckets,
    toString(sum(c)) AS credits,
    toString(sum(m)) AS messages,
    toString(sum(e)) AS events,
    arrayStringConcat(groupArray({{.MaxListed}})(toString(toUnixTimestamp(slot))), ',') AS slots,
    arrayStringConcat(groupArray({{.MaxListed}})(CAST(workspace, 'String')), '\n') AS workspaces
FROM
(
    SELECT workspace, slot, sum(abs(bucket_credits)) AS c, sum(abs(bucket_messages)) AS m, sum(abs(bucket_events)) AS e
    FROM
    (
        SELECT workspace, slot{{if .ByAgent}}, agent{{end}}, sum(row_credits) AS bucket_credits, sum(row_messages) AS bucket_messages, sum(row_events) AS bucket_events
        FROM
        (
            SELECT workspace, {{.SourceSlot}} AS slot{{if .ByAgent}}, agent{{end}}, {{.SourceCredits}} AS row_credits, messages AS row_messages, {{.SourceEvents}} AS row_events
            FROM {{.SourceTable}} AS source
            WHERE stream = {stream:UUID} AND partition = {partition:Int32}
                {{- if .Outcomes}} AND outcome IN ({{.Outcomes}}){{end}}
                {{- if .Since}} AND {{.SourceTime}} >= toDateTime({cutoff:UInt32}, 'UTC'){{end}}
                {{- if .Before}} AND {{.SourceTime}} < toDateTime({cutoff:UInt32}, 'UTC'){{end}}
                {{- template "scope" (scope . .SourceTime .SourceSlot)}}
            UNION ALL
            SELECT workspace, time AS slot{{if .ByAgent}}, agent{{end}}, {{if .Credits}}-credits{{else}}toInt128(0){{end}}, -messages, -events
            FROM {{.Table}} AS rollup
            WHERE stream = {stream:UUID} AND partition = {partition:Int32}
                {{- if .Since}} AND time >= toDateTime({cutoff:UInt32}, 'UTC'){{end}}
                {{- if .Before}} AND time < toDateTime({cutoff:UInt32}, 'UTC'){{end}}
                {{- template "scope" (scope . "time" "time")}}
        )
        GROUP BY workspace, slot{{if .ByAgent}}, agent{{end}}
        HAVING bucket_credits != 0 OR bucket_messages != 0 OR bucket_events != 0
    )
    GROUP BY workspace, slot
)

{{- define "scope"}}
    {{- if .Ranges}} AND ({{range $i, $unused := .Ranges}}{{if $i}} OR {{end}}({{$.Time}} >= toDateTime({from_{{$i}}:UInt32}, 'UTC') AND {{$.Time}} < toDateTime({to_{{$i}}:UInt32}, 'UTC')){{end}}){{end}}
    {{- if .Touched}} AND (workspace, {{.Slot}}) IN
                (
                    SELECT workspace, {{.Bucket}}
                    FROM usage_ledger
                    WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64} AND outcome IN ({{.TouchedOutcomes}})
                ){{end}}
    {{- if .Listed}} AND (workspace, {{.Slot}}) IN (SELECT arrayJoin(arrayZip(arrayMap(w -> unhex(w), {workspaces:Array(String)}), arrayMap(t -> toDateTime(t, 'UTC'), {slots:Array(UInt32)})))){{end}}
    {{- if and .Listed .Untouched}} AND (workspace, {{.Slot}}) NOT IN
                (
                    SELECT workspace, {{.Bucket}}
                    FROM usage_ledger
                    WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} AND offset < {hi:Int64} AND outcome IN ({{.TouchedOutcomes}})
                ){{end}}
{{- end}}

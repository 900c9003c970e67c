{{/* The first statement of an erasure: from here on every block that is appended is blank of the workspace. */ -}}
{{define "begin" -}}
INSERT INTO usage_erasures (workspace, erased_at)
SELECT {workspace:String}, now64(3)
WHERE {workspace:String} NOT IN (SELECT workspace FROM usage_erasures)
{{- end}}

{{- /* What the ledger recorded before keeps its offset, its block and the broker's time. */ -}}
{{define "blank" -}}
ALTER TABLE usage_ledger UPDATE
    outcome = 'erased', event_id = '', workspace = '', agent = '', conversation = '', model = '', channel = '',
    occurred_at = toDateTime64(0, 6, 'UTC'), credits = 0, messages = 0, reason = '', refers_to = '', detail = ''
WHERE workspace = {workspace:String}
{{- end}}

{{- /* Partitions whose ids are looked up though the ledger has no event of theirs any more, and how many. */ -}}
{{define "ids" -}}
SELECT stream, partition, toInt64(count())
FROM usage_ids
WHERE (stream, partition, offset) IN (SELECT stream, partition, offset FROM usage_ledger WHERE outcome = 'erased')
GROUP BY stream, partition
ORDER BY stream, partition
{{- end}}

{{- define "remove_ids" -}}
ALTER TABLE usage_ids DELETE
WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset IN
(
    SELECT offset FROM usage_ledger WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND outcome = 'erased'
)
{{- end}}

{{- define "remaining"}}SELECT toInt64(count()) FROM {{.}} WHERE workspace = {workspace:String}{{end}}

{{- define "remove"}}ALTER TABLE {{.}} DELETE WHERE workspace = {workspace:String}{{end}}

{{- define "spent"}}SELECT toString(sum(toInt128(credits))) FROM usage_ledger WHERE workspace = {workspace:String}{{end}}

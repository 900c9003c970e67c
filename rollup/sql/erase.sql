{{/* Those that are erased. An array of texts is bound as hexadecimal digits, in which nothing has to be escaped. */ -}}
{{define "workspaces"}}SELECT arrayJoin(arrayMap(w -> unhex(w), {workspaces:Array(String)})) AS workspace{{end -}}

{{/* Which workspaces were erased. */ -}}
{{define "erased"}}SELECT DISTINCT workspace FROM usage_erasures{{end -}}

{{/* The same, with when each was begun. */ -}}
{{define "erasures"}}SELECT workspace, min(erased_at) FROM usage_erasures GROUP BY workspace ORDER BY workspace{{end -}}

{{/* The first statement of an erasure: from here on every block that is appended is blank of the workspaces. */ -}}
{{define "begin" -}}
INSERT INTO usage_erasures (workspace, erased_at)
SELECT workspace, now64(3)
FROM ({{template "workspaces"}})
WHERE workspace NOT IN (SELECT workspace FROM usage_erasures)
{{- end}}

{{- /* What the ledger recorded before keeps its offset, its block and the broker's time. */ -}}
{{define "blank" -}}
ALTER TABLE usage_ledger UPDATE
    outcome = 'erased', event_id = '', workspace = '', agent = '', conversation = '', model = '', channel = '',
    occurred_at = toDateTime64(0, 6, 'UTC'), credits = 0, messages = 0, reason = '', refers_to = '', detail = ''
WHERE workspace IN ({{template "workspaces"}})
{{- end}}

{{- /* Runs of offsets, each as long as a slot, in which events were erased and the look-up has other offsets than it
       should, and how many events were erased in each. One read of both tables, by what takes few bytes a row. */ -}}
{{define "slots" -}}
SELECT stream, partition, slot, toInt64(sum(erased))
FROM
(
    SELECT stream, partition, intDiv(offset, {slot:Int64}) AS slot, toInt64(countIf(outcome = 'erased')) AS erased,
        toInt64(countIf({{recorded}})) AS ids,
        groupBitXorIf(sipHash64(offset), {{recorded}}) AS offsets
    FROM usage_ledger
    GROUP BY stream, partition, slot
    UNION ALL
    SELECT stream, partition, intDiv(offset, {slot:Int64}) AS slot, 0, -toInt64(count()), groupBitXor(sipHash64(offset))
    FROM usage_id_places
    GROUP BY stream, partition, slot
)
GROUP BY stream, partition, slot
HAVING sum(erased) > 0 AND (sum(ids) != 0 OR groupBitXor(offsets) != 0)
ORDER BY stream, partition, slot
{{- end}}

{{- /* Ids that are looked up though their events are erased. The erased offsets of each stretch
       are held as a bitmap: a set takes many times as much. */ -}}
{{define "stranded" -}}
{{range $i, $s := .Stretches}}{{if $i}} OR {{end -}}
(stream = '{{$s.Stream}}' AND partition = {{$s.Partition}} AND offset >= {{$s.From}} AND offset <= {{$s.Through}} AND bitmapContains(
(
    SELECT groupBitmapState(toUInt64(offset)) FROM usage_ledger
    WHERE stream = '{{$s.Stream}}' AND partition = {{$s.Partition}} AND offset >= {{$s.From}} AND offset <= {{$s.Through}} AND outcome = 'erased'
), toUInt64(offset)))
{{- end}}
{{- end}}

{{- define "ids"}}SELECT toInt64(count()) FROM usage_id_places WHERE {{template "stranded" .}}{{end}}

{{- define "remove_ids"}}ALTER TABLE usage_id_places DELETE WHERE {{template "stranded" .}}{{end}}

{{- define "remaining"}}SELECT toInt64(count()) FROM {{.Table}} WHERE workspace IN ({{template "workspaces"}}){{end}}

{{- define "remove"}}ALTER TABLE {{.Table}} DELETE WHERE workspace IN ({{template "workspaces"}}){{end}}

{{- define "spent"}}SELECT toString(sum(toInt128(credits))) FROM usage_ledger WHERE workspace IN ({{template "workspaces"}}){{end}}

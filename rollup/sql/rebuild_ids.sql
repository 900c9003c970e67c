{{/* What the id look-up should hold of a partition's offsets from one through another. */ -}}
{{define "recorded" -}}
SELECT {{idKey}} AS key, offset
    FROM usage_ledger
    WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {from:Int64} AND offset <= {through:Int64}
        AND {{recorded}}
{{- end}}
{{/* What it holds of them. Of an erased event the ledger has no id any more, so its entry is kept as it is. */ -}}
{{define "held" -}}
stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {from:Int64} AND offset <= {through:Int64}
        AND offset NOT IN
        (
            SELECT offset FROM usage_ledger
            WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {from:Int64} AND offset <= {through:Int64} AND outcome = 'erased'
        )
{{- end}}

{{- /* How many ids are missing, are none of the ledger's, or are held more than once. */ -}}
{{define "compare" -}}
SELECT toInt64(countIf(in_ledger > 0 AND in_ids = 0)) AS missing, toInt64(countIf(in_ledger = 0)) AS surplus, toInt64(countIf(in_ledger > 0 AND in_ids > 1)) AS repeated
FROM
(
    SELECT key, offset, sum(l) AS in_ledger, sum(i) AS in_ids
    FROM
    (
        SELECT key, offset, 1 AS l, 0 AS i FROM ({{template "recorded"}})
        UNION ALL
        SELECT id_key, offset, 0, 1 FROM usage_id_places WHERE {{template "held"}}
    )
    GROUP BY key, offset
)
{{- end}}

{{- define "add" -}}
INSERT INTO usage_id_places (id_key, stream, partition, offset)
SELECT key, {stream:UUID}, {partition:Int32}, offset
FROM ({{template "recorded"}})
WHERE (key, offset) NOT IN (SELECT id_key, offset FROM usage_id_places WHERE {{template "held"}})
{{- end}}

{{- define "remove" -}}
DELETE FROM usage_id_places
WHERE {{template "held"}}
    AND (id_key, offset) NOT IN ({{template "recorded"}})
{{- end}}

{{- /* Of rows that say the same, all but the first go. Parts are put in order by the number of their first block,
       which merges do not change, so that whoever computes it in between keeps the same one. */ -}}
{{define "remove_repeated" -}}
DELETE FROM usage_id_places
WHERE {{template "held"}}
    AND (_part, _part_offset) IN
    (
        SELECT tupleElement(copy, 3), tupleElement(copy, 2)
        FROM
        (
            SELECT arrayJoin(arraySlice(arraySort(groupArray((toInt64OrZero(splitByChar('_', _part)[2]), _part_offset, _part))), 2)) AS copy
            FROM usage_id_places
            WHERE {{template "held"}}
            GROUP BY id_key, offset
            HAVING count() > 1
        )
    )
{{- end}}

{{- define "plan" -}}
SELECT toInt64(min(lowest)) AS lowest, toInt64(max(highest)) AS highest
FROM
(
    SELECT min(offset) AS lowest, max(offset) AS highest FROM usage_ledger WHERE stream = {stream:UUID} AND partition = {partition:Int32}
    UNION ALL
    SELECT min(offset), max(offset) FROM usage_id_places WHERE stream = {stream:UUID} AND partition = {partition:Int32} HAVING count() > 0
)
{{- end}}

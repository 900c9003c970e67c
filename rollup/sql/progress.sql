{{/* How far each partition is counted, as its consumer publishes it. */ -}}
{{define "insert" -}}
INSERT INTO rollup_progress
(stream, partition, partitions, position, log_end, counted_through, halted, halted_from, updated_at) VALUES
{{- end}}

{{- /* Where the log of each partition was last seen to end. */ -}}
{{define "log_ends" -}}
SELECT partition, argMax(log_end, updated_at) FROM rollup_progress WHERE stream = {stream:UUID} GROUP BY partition
{{- end}}

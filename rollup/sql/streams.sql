{{/* The topics that the ledger is of, each as the stream that it was. */ -}}

{{/* The one that a topic is counted as: the latest that was adopted. */ -}}
{{define "latest" -}}
SELECT stream, partitions, starts, adopted_at FROM usage_streams WHERE topic = {topic:String} ORDER BY adopted_at DESC, stream LIMIT 1
{{- end}}

{{- /* The time of an empty table is that of the epoch. */ -}}
{{define "last_adoption"}}SELECT max(adopted_at) FROM usage_streams WHERE topic = {topic:String}{{end}}

{{- define "insert"}}INSERT INTO usage_streams (stream, topic, partitions, starts, adopted_at) VALUES{{end}}

{{- /* How often a stream was adopted, be it the latest or not. */ -}}
{{define "adoptions"}}SELECT count() FROM usage_streams WHERE stream = {stream:UUID}{{end}}

{{/* The first offset of a directory topic beyond all that are stored of it; no row where none is. */ -}}
{{define "end" -}}
SELECT max(source_offset) + 1 FROM (
SELECT source_offset, source_stream FROM directory_workspaces
UNION ALL SELECT source_offset, source_stream FROM directory_agents
UNION ALL SELECT source_offset, source_stream FROM directory_members)
WHERE source_stream = ? HAVING count() > 0
{{- end}}

{{- define "insert_workspaces" -}}
INSERT INTO directory_workspaces
(workspace, valid_from, name, timezone, billing_anchor, agent_slots, seats, links, support_email, product_name, source_offset, source_stream) VALUES
{{- end}}

{{- define "insert_agents"}}INSERT INTO directory_agents (workspace, agent, valid_from, name, deleted, source_offset, source_stream) VALUES{{end}}

{{- define "insert_members"}}INSERT INTO directory_members (workspace, member, valid_from, name, deleted, source_offset, source_stream) VALUES{{end}}

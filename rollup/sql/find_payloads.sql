-- What was recorded at these offsets of a partition, to tell a re-sent event from another event with its id.
SELECT offset, CAST(workspace, 'String') AS workspace_id, event_id, CAST(agent, 'String') AS agent_id, CAST(channel, 'String') AS channel_name, occurred_at, credits, messages, toInt8(outcome) AS outcome_number
FROM usage_ledger
WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset IN (SELECT toInt64(arrayJoin(splitByChar(',', '{{.Offsets}}'))))
FORMAT Native

-- What was recorded at {{.Count}} offsets (8 bytes each, in base64) of a partition, to tell a re-sent event from another event with its id.
WITH base64Decode('{{.Offsets}}') AS offsets
SELECT
    offset,
    CAST(workspace, 'String') AS workspace_id,
    event_id,
    CAST(agent, 'String') AS agent_id,
    CAST(channel, 'String') AS channel_name,
    occurred_at,
    credits,
    messages,
    toInt8(outcome) AS outcome_number
FROM usage_ledger
PREWHERE stream = {stream:UUID} AND partition = {partition:Int32}
    AND offset IN (SELECT reinterpretAsInt64(substring(offsets, 1 + 8 * number, 8)) FROM numbers({{.Count}}))
FORMAT Native

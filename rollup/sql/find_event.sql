-- What was recorded under the id of an event, and where. It is one row, unless an id was recorded twice, which the audit says.
SELECT
    stream,
    partition,
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
WHERE (stream, partition, offset) IN (SELECT stream, partition, offset FROM usage_id_places WHERE id_key = {key:UInt64})
    AND workspace = {workspace:String} AND event_id = {id:String} AND {{recorded}}
ORDER BY kafka_time, stream, partition, offset
LIMIT 1
FORMAT Native

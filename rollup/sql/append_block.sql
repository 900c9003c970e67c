-- Append one block if, and only if, the ledger of its partition ends where the block begins.
INSERT INTO usage_ledger
(
    stream, partition, offset, block_lo, block_hi, block_day, kafka_time, event_id, outcome, workspace, agent,
    conversation, model, channel, occurred_at, credits, messages, reason, refers_to, detail
)
WITH
(
    -- How many rows the ledger has from where the block begins, and just before.
    SELECT (countIf(offset >= {lo:Int64}), countIf(offset < {lo:Int64}))
    FROM usage_ledger
    PREWHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64} - 1
) AS present,
-- Of a workspace that was erased nothing is recorded but the offset, whoever sends it and however late.
-- As long as nobody was, no row is looked at.
(SELECT count() FROM usage_erasures) > 0 AND workspace IN (SELECT workspace FROM usage_erasures) AS gone
SELECT
    {stream:UUID}, {partition:Int32}, offset, {lo:Int64}, {hi:Int64}, {day:Date}, kafka_time, if(gone, '', event_id),
    if(gone, toInt8(7), outcome), if(gone, '', workspace), if(gone, '', agent), if(gone, '', conversation), if(gone, '', model),
    if(gone, '', channel), if(gone, toDateTime64(0, 6, 'UTC'), occurred_at), if(gone, 0, credits), if(gone, 0, messages),
    if(gone, '', reason), if(gone, '', refers_to), if(gone, '', detail)
FROM input('offset Int64, kafka_time DateTime64(3, \'UTC\'), event_id String, outcome Int8, workspace LowCardinality(String), agent LowCardinality(String), conversation String, model LowCardinality(String), channel LowCardinality(String), occurred_at DateTime64(6, \'UTC\'), credits Int64, messages Int64, reason String, refers_to String, detail LowCardinality(String)')
WHERE throwIf(
    NOT (present.1 = 0 AND ({lo:Int64} = {start:Int64} OR present.2 = 1)),
    'the ledger does not end where this block begins'
) = 0
FORMAT Native

-- Append one block if, and only if, the ledger of its partition ends where the block begins.
INSERT INTO usage_ledger
(
    stream, partition, offset, block_lo, block_hi, block_day, kafka_time, event_id, outcome, workspace, agent,
    conversation, model, channel, occurred_at, credits, messages, reason, refers_to, detail
)
SELECT
    {stream:UUID}, {partition:Int32}, offset, {lo:Int64}, {hi:Int64}, {day:Date}, kafka_time, event_id, outcome, workspace, agent,
    conversation, model, channel, occurred_at, credits, messages, reason, refers_to, detail
FROM input('offset Int64, kafka_time DateTime64(3, \'UTC\'), event_id String, outcome Int8, workspace String, agent String, conversation String, model String, channel String, occurred_at DateTime64(6, \'UTC\'), credits Int64, messages Int64, reason String, refers_to String, detail String')
WHERE throwIf(
    NOT (
        (SELECT count() FROM usage_ledger WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset >= {lo:Int64}) = 0
        AND (
            {lo:Int64} = {start:Int64}
            OR (SELECT count() FROM usage_ledger WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND offset = {lo:Int64} - 1) = 1
        )
    ),
    'the ledger does not end where this block begins'
) = 0
FORMAT Native

-- The ledger: one row for every Kafka offset, with its one outcome.
--
-- It is kept for ever: reconcile, rebuild and the uniqueness of ids rest on it.
-- It is partitioned by the day on which the block was stored, never by event
-- time, so that a block is always one part and so atomic.

-- +goose Up
CREATE TABLE IF NOT EXISTS usage_ledger
(
    stream       UUID,
    partition    Int32,
    offset       Int64 CODEC(Delta, ZSTD(1)),
    block_lo     Int64 CODEC(Delta, ZSTD(1)),
    block_hi     Int64 CODEC(Delta, ZSTD(1)),
    block_day    Date,
    kafka_time   DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    event_id     String CODEC(ZSTD(1)),
    outcome      Enum8('counted' = 1, 'playground' = 2, 'adjustment' = 3, 'duplicate' = 4, 'invalid' = 5, 'gap' = 6, 'erased' = 7),
    workspace    LowCardinality(String),
    agent        LowCardinality(String),
    conversation String CODEC(ZSTD(1)),
    model        LowCardinality(String),
    channel      LowCardinality(String),
    occurred_at  DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    credits      Int64 CODEC(ZSTD(1)),
    messages     Int64 CODEC(ZSTD(1)),
    reason       String CODEC(ZSTD(1)),
    refers_to    String CODEC(ZSTD(1)),
    detail       LowCardinality(String),
    INDEX occurred_at_range occurred_at TYPE minmax GRANULARITY 1,
    CONSTRAINT offset_in_block CHECK block_lo <= offset AND offset < block_hi,
    CONSTRAINT only_counted_carry CHECK outcome IN ('counted', 'adjustment') OR credits = 0,
    CONSTRAINT counted_not_negative CHECK outcome != 'counted' OR (credits >= 0 AND messages >= 0)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(block_day)
ORDER BY (stream, partition, offset)
SETTINGS non_replicated_deduplication_window = 0;

-- The streams whose offsets the ledger holds: a topic by its id, since a
-- recreated topic is another stream. starts holds, for each partition, the
-- offset that its run in the ledger begins at.
CREATE TABLE IF NOT EXISTS usage_streams
(
    stream     UUID,
    topic      String,
    partitions Int32,
    starts     Array(Int64),
    adopted_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, adopted_at, stream);

-- How far each partition has been counted, as its consumer last said.
CREATE TABLE IF NOT EXISTS rollup_progress
(
    stream          UUID,
    partition       Int32,
    partitions      Int32,
    position        Int64,
    log_end         Int64,
    counted_through DateTime64(3, 'UTC'),
    halted          String,
    halted_from     DateTime64(3, 'UTC'),
    updated_at      DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY (stream, partition);

-- The rollups: credits and messages of counted events and adjustments, for each
-- workspace, bucket and agent, straight off the ledger. All times are UTC and
-- every coarser bucket is tiled by each finer one.
--
-- Stream and partition are part of the key, so that a reconcile concerns one
-- partition alone. Sums of credits are 128 bits wide: no number of events can
-- overflow them.

-- +goose Up
CREATE TABLE IF NOT EXISTS usage_minute
(
    workspace LowCardinality(String),
    time      DateTime('UTC') CODEC(Delta, ZSTD(1)),
    agent     LowCardinality(String),
    stream    UUID,
    partition Int32,
    credits   SimpleAggregateFunction(sum, Int128) CODEC(ZSTD(1)),
    messages  SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)),
    events    SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (workspace, time, agent, stream, partition)
TTL time + INTERVAL 32 DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_minute_view TO usage_minute AS
SELECT
    workspace,
    toStartOfMinute(occurred_at) AS time,
    agent,
    stream,
    partition,
    sum(toInt128(ledger.credits)) AS credits,
    sum(ledger.messages) AS messages,
    toInt64(count()) AS events
FROM usage_ledger AS ledger
WHERE outcome IN ('counted', 'adjustment')
GROUP BY workspace, time, agent, stream, partition;

CREATE TABLE IF NOT EXISTS usage_quarter
(
    workspace LowCardinality(String),
    time      DateTime('UTC') CODEC(Delta, ZSTD(1)),
    agent     LowCardinality(String),
    stream    UUID,
    partition Int32,
    credits   SimpleAggregateFunction(sum, Int128) CODEC(ZSTD(1)),
    messages  SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)),
    events    SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (workspace, time, agent, stream, partition);

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_quarter_view TO usage_quarter AS
SELECT
    workspace,
    toStartOfFifteenMinutes(occurred_at) AS time,
    agent,
    stream,
    partition,
    sum(toInt128(ledger.credits)) AS credits,
    sum(ledger.messages) AS messages,
    toInt64(count()) AS events
FROM usage_ledger AS ledger
WHERE outcome IN ('counted', 'adjustment')
GROUP BY workspace, time, agent, stream, partition;

CREATE TABLE IF NOT EXISTS usage_hour
(
    workspace LowCardinality(String),
    time      DateTime('UTC') CODEC(Delta, ZSTD(1)),
    agent     LowCardinality(String),
    stream    UUID,
    partition Int32,
    credits   SimpleAggregateFunction(sum, Int128) CODEC(ZSTD(1)),
    messages  SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)),
    events    SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (workspace, time, agent, stream, partition);

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_hour_view TO usage_hour AS
SELECT
    workspace,
    toStartOfHour(occurred_at) AS time,
    agent,
    stream,
    partition,
    sum(toInt128(ledger.credits)) AS credits,
    sum(ledger.messages) AS messages,
    toInt64(count()) AS events
FROM usage_ledger AS ledger
WHERE outcome IN ('counted', 'adjustment')
GROUP BY workspace, time, agent, stream, partition;

CREATE TABLE IF NOT EXISTS usage_day
(
    workspace LowCardinality(String),
    time      DateTime('UTC') CODEC(Delta, ZSTD(1)),
    agent     LowCardinality(String),
    stream    UUID,
    partition Int32,
    credits   SimpleAggregateFunction(sum, Int128) CODEC(ZSTD(1)),
    messages  SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)),
    events    SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (workspace, time, agent, stream, partition);

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_day_view TO usage_day AS
SELECT
    workspace,
    toDateTime(toStartOfDay(occurred_at), 'UTC') AS time,
    agent,
    stream,
    partition,
    sum(toInt128(ledger.credits)) AS credits,
    sum(ledger.messages) AS messages,
    toInt64(count()) AS events
FROM usage_ledger AS ledger
WHERE outcome IN ('counted', 'adjustment')
GROUP BY workspace, time, agent, stream, partition;

-- The same without the agent, for questions about the whole workspace.
CREATE TABLE IF NOT EXISTS usage_workspace_hour
(
    workspace LowCardinality(String),
    time      DateTime('UTC') CODEC(Delta, ZSTD(1)),
    stream    UUID,
    partition Int32,
    credits   SimpleAggregateFunction(sum, Int128) CODEC(ZSTD(1)),
    messages  SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)),
    events    SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (workspace, time, stream, partition);

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_workspace_hour_view TO usage_workspace_hour AS
SELECT
    workspace,
    toStartOfHour(occurred_at) AS time,
    stream,
    partition,
    sum(toInt128(ledger.credits)) AS credits,
    sum(ledger.messages) AS messages,
    toInt64(count()) AS events
FROM usage_ledger AS ledger
WHERE outcome IN ('counted', 'adjustment')
GROUP BY workspace, time, stream, partition;

-- Playground tests: recorded so that an empty page can say why, never counted.
CREATE TABLE IF NOT EXISTS usage_playground
(
    workspace LowCardinality(String),
    time      DateTime('UTC') CODEC(Delta, ZSTD(1)),
    agent     LowCardinality(String),
    stream    UUID,
    partition Int32,
    messages  SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)),
    events    SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (workspace, time, agent, stream, partition);

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_playground_view TO usage_playground AS
SELECT
    workspace,
    toStartOfFifteenMinutes(occurred_at) AS time,
    agent,
    stream,
    partition,
    sum(ledger.messages) AS messages,
    toInt64(count()) AS events
FROM usage_ledger AS ledger
WHERE outcome = 'playground'
GROUP BY workspace, time, agent, stream, partition;

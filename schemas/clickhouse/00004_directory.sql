-- The directory's history: workspaces, agents and members as they were said to
-- be from valid_from on. Append-only; "as of T" is the last row that is valid
-- at T. source_offset is the change's offset in usage.directory.v1, so that
-- reading a change twice stores it once.

-- +goose Up
CREATE TABLE IF NOT EXISTS directory_workspaces
(
    workspace      LowCardinality(String),
    valid_from     DateTime64(6, 'UTC'),
    name           String,
    timezone       LowCardinality(String),
    billing_anchor Date32,
    agent_slots    Nullable(Int64),
    seats          Nullable(Int64),
    links          Map(String, String),
    support_email  String,
    product_name   String,
    source_offset  Int64
)
ENGINE = ReplacingMergeTree
ORDER BY (workspace, valid_from, source_offset);

CREATE TABLE IF NOT EXISTS directory_agents
(
    workspace     LowCardinality(String),
    agent         String,
    valid_from    DateTime64(6, 'UTC'),
    name          String,
    deleted       Bool,
    source_offset Int64
)
ENGINE = ReplacingMergeTree
ORDER BY (workspace, agent, valid_from, source_offset);

CREATE TABLE IF NOT EXISTS directory_members
(
    workspace     LowCardinality(String),
    member        String,
    valid_from    DateTime64(6, 'UTC'),
    name          String,
    deleted       Bool,
    source_offset Int64
)
ENGINE = ReplacingMergeTree
ORDER BY (workspace, member, valid_from, source_offset);

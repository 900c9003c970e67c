-- The workspaces that were erased. Whatever is counted of them from then on,
-- new, late, sent again or read again from Kafka, is blank in the ledger: it
-- keeps its offset and nothing else. The name of the workspace is all that is
-- kept of it, and it is kept for ever.

-- +goose Up
CREATE TABLE IF NOT EXISTS usage_erasures
(
    workspace String,
    erased_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY workspace;

-- Where each event id was recorded first: the look-up that makes a re-sent id
-- count once for as long as the ledger knows it. id_hash is the first 16 bytes
-- of SHA-256 over workspace, a zero byte and the id (schemas.HashID).

-- +goose Up
CREATE TABLE IF NOT EXISTS usage_ids
(
    id_hash   FixedString(16) CODEC(NONE),
    stream    UUID,
    partition Int32,
    offset    Int64 CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY id_hash
SETTINGS index_granularity = 2048;

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_ids_view TO usage_ids AS
SELECT
    toFixedString(substring(SHA256(concat(ledger.workspace, '\0', event_id)), 1, 16), 16) AS id_hash,
    stream,
    partition,
    offset
FROM usage_ledger AS ledger
WHERE outcome IN ('counted', 'playground', 'adjustment');

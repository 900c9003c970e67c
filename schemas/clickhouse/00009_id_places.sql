-- Where each event id was recorded first: the look-up that makes a re-sent id
-- count once for as long as the ledger knows it. id_key is the first 48 bits of
-- SHA-256 over workspace, a zero byte and the id, as a number (schemas.IDKey):
-- enough to find the few places where an id may stand, at which the ledger says
-- which id it is. A whole hash, which nothing compresses, would take more than all
-- else that is kept of an event.
--
-- Differences between neighbours in the order of the key, cut to the bits that
-- they use, take less than 4 bytes of the 8; places cut to theirs take 3.

-- +goose Up
CREATE TABLE IF NOT EXISTS usage_id_places
(
    id_key    UInt64 CODEC(Delta, T64, LZ4),
    stream    UUID,
    partition Int32 CODEC(T64, LZ4),
    offset    Int64 CODEC(T64, LZ4)
)
ENGINE = MergeTree
ORDER BY id_key
SETTINGS index_granularity = 2048;

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_id_places_view TO usage_id_places AS
SELECT
    reinterpretAsUInt64(reverse(substring(SHA256(concat(workspace, '\0', event_id)), 1, 6))) AS id_key,
    stream,
    partition,
    offset
FROM usage_ledger AS ledger
WHERE outcome IN ('counted', 'playground', 'adjustment');

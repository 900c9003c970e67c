-- Each rollup beside the ledger, bucket by bucket, for the whole buckets of a range.
SELECT
    toUInt8(0) AS tier,
    sum(ledger_credits) AS spent,
    sum(ledger_messages) AS answered,
    sum(ledger_events) AS recorded,
    sum(rollup_credits) AS rolled_spent,
    sum(rollup_messages) AS rolled_answered,
    sum(rollup_events) AS rolled_recorded,
    toInt64(countIf(differs)) AS differing,
    toUInt32(minIf(slot, differs)) AS first,
    toUInt32(maxIf(slot, differs)) AS last
FROM
(
    SELECT
        slot,
        sum(lc) AS ledger_credits, sum(lm) AS ledger_messages, sum(le) AS ledger_events,
        sum(rc) AS rollup_credits, sum(rm) AS rollup_messages, sum(re) AS rollup_events,
        ledger_credits != rollup_credits OR ledger_messages != rollup_messages OR ledger_events != rollup_events AS differs
    FROM
    (
        SELECT toStartOfMinute(occurred_at) AS slot, agent AS who, toInt128(credits) AS lc, messages AS lm, toInt64(1) AS le, toInt128(0) AS rc, toInt64(0) AS rm, toInt64(0) AS re
        FROM usage_ledger
        WHERE workspace = {workspace:String}
            AND outcome IN ('counted', 'adjustment') AND agent = {agent:String}
            AND occurred_at >= toDateTime({from_0:UInt32}, 'UTC') AND occurred_at < toDateTime({to_0:UInt32}, 'UTC')
        UNION ALL
        SELECT time AS slot, agent AS who, toInt128(0), toInt64(0), toInt64(0), credits, messages, events
        FROM usage_minute
        WHERE workspace = {workspace:String} AND agent = {agent:String}
            AND time >= toDateTime({from_0:UInt32}, 'UTC') AND time < toDateTime({to_0:UInt32}, 'UTC')
    )
    GROUP BY slot, who
)
UNION ALL
SELECT
    toUInt8(1) AS tier,
    sum(ledger_credits) AS spent,
    sum(ledger_messages) AS answered,
    sum(ledger_events) AS recorded,
    sum(rollup_credits) AS rolled_spent,
    sum(rollup_messages) AS rolled_answered,
    sum(rollup_events) AS rolled_recorded,
    toInt64(countIf(differs)) AS differing,
    toUInt32(minIf(slot, differs)) AS first,
    toUInt32(maxIf(slot, differs)) AS last
FROM
(
    SELECT
        slot,
        sum(lc) AS ledger_credits, sum(lm) AS ledger_messages, sum(le) AS ledger_events,
        sum(rc) AS rollup_credits, sum(rm) AS rollup_messages, sum(re) AS rollup_events,
        ledger_credits != rollup_credits OR ledger_messages != rollup_messages OR ledger_events != rollup_events AS differs
    FROM
    (
        SELECT toStartOfFifteenMinutes(occurred_at) AS slot, agent AS who, toInt128(credits) AS lc, messages AS lm, toInt64(1) AS le, toInt128(0) AS rc, toInt64(0) AS rm, toInt64(0) AS re
        FROM usage_ledger
        WHERE workspace = {workspace:String}
            AND outcome IN ('counted', 'adjustment') AND agent = {agent:String}
            AND occurred_at >= toDateTime({from_1:UInt32}, 'UTC') AND occurred_at < toDateTime({to_1:UInt32}, 'UTC')
        UNION ALL
        SELECT time AS slot, agent AS who, toInt128(0), toInt64(0), toInt64(0), credits, messages, events
        FROM usage_quarter
        WHERE workspace = {workspace:String} AND agent = {agent:String}
            AND time >= toDateTime({from_1:UInt32}, 'UTC') AND time < toDateTime({to_1:UInt32}, 'UTC')
    )
    GROUP BY slot, who
)
UNION ALL
SELECT
    toUInt8(2) AS tier,
    sum(ledger_credits) AS spent,
    sum(ledger_messages) AS answered,
    sum(ledger_events) AS recorded,
    sum(rollup_credits) AS rolled_spent,
    sum(rollup_messages) AS rolled_answered,
    sum(rollup_events) AS rolled_recorded,
    toInt64(countIf(differs)) AS differing,
    toUInt32(minIf(slot, differs)) AS first,
    toUInt32(maxIf(slot, differs)) AS last
FROM
(
    SELECT
        slot,
        sum(lc) AS ledger_credits, sum(lm) AS ledger_messages, sum(le) AS ledger_events,
        sum(rc) AS rollup_credits, sum(rm) AS rollup_messages, sum(re) AS rollup_events,
        ledger_credits != rollup_credits OR ledger_messages != rollup_messages OR ledger_events != rollup_events AS differs
    FROM
    (
        SELECT toStartOfHour(occurred_at) AS slot, agent AS who, toInt128(credits) AS lc, messages AS lm, toInt64(1) AS le, toInt128(0) AS rc, toInt64(0) AS rm, toInt64(0) AS re
        FROM usage_ledger
        WHERE workspace = {workspace:String}
            AND outcome IN ('counted', 'adjustment') AND agent = {agent:String}
            AND occurred_at >= toDateTime({from_2:UInt32}, 'UTC') AND occurred_at < toDateTime({to_2:UInt32}, 'UTC')
        UNION ALL
        SELECT time AS slot, agent AS who, toInt128(0), toInt64(0), toInt64(0), credits, messages, events
        FROM usage_hour
        WHERE workspace = {workspace:String} AND agent = {agent:String}
            AND time >= toDateTime({from_2:UInt32}, 'UTC') AND time < toDateTime({to_2:UInt32}, 'UTC')
    )
    GROUP BY slot, who
)
UNION ALL
SELECT
    toUInt8(3) AS tier,
    sum(ledger_credits) AS spent,
    sum(ledger_messages) AS answered,
    sum(ledger_events) AS recorded,
    sum(rollup_credits) AS rolled_spent,
    sum(rollup_messages) AS rolled_answered,
    sum(rollup_events) AS rolled_recorded,
    toInt64(countIf(differs)) AS differing,
    toUInt32(minIf(slot, differs)) AS first,
    toUInt32(maxIf(slot, differs)) AS last
FROM
(
    SELECT
        slot,
        sum(lc) AS ledger_credits, sum(lm) AS ledger_messages, sum(le) AS ledger_events,
        sum(rc) AS rollup_credits, sum(rm) AS rollup_messages, sum(re) AS rollup_events,
        ledger_credits != rollup_credits OR ledger_messages != rollup_messages OR ledger_events != rollup_events AS differs
    FROM
    (
        SELECT toDateTime(toStartOfDay(occurred_at), 'UTC') AS slot, agent AS who, toInt128(credits) AS lc, messages AS lm, toInt64(1) AS le, toInt128(0) AS rc, toInt64(0) AS rm, toInt64(0) AS re
        FROM usage_ledger
        WHERE workspace = {workspace:String}
            AND outcome IN ('counted', 'adjustment') AND agent = {agent:String}
            AND occurred_at >= toDateTime({from_3:UInt32}, 'UTC') AND occurred_at < toDateTime({to_3:UInt32}, 'UTC')
        UNION ALL
        SELECT time AS slot, agent AS who, toInt128(0), toInt64(0), toInt64(0), credits, messages, events
        FROM usage_day
        WHERE workspace = {workspace:String} AND agent = {agent:String}
            AND time >= toDateTime({from_3:UInt32}, 'UTC') AND time < toDateTime({to_3:UInt32}, 'UTC')
    )
    GROUP BY slot, who
)
UNION ALL
SELECT
    toUInt8(4) AS tier,
    sum(ledger_credits) AS spent,
    sum(ledger_messages) AS answered,
    sum(ledger_events) AS recorded,
    sum(rollup_credits) AS rolled_spent,
    sum(rollup_messages) AS rolled_answered,
    sum(rollup_events) AS rolled_recorded,
    toInt64(countIf(differs)) AS differing,
    toUInt32(minIf(slot, differs)) AS first,
    toUInt32(maxIf(slot, differs)) AS last
FROM
(
    SELECT
        slot,
        sum(lc) AS ledger_credits, sum(lm) AS ledger_messages, sum(le) AS ledger_events,
        sum(rc) AS rollup_credits, sum(rm) AS rollup_messages, sum(re) AS rollup_events,
        ledger_credits != rollup_credits OR ledger_messages != rollup_messages OR ledger_events != rollup_events AS differs
    FROM
    (
        SELECT toStartOfFifteenMinutes(occurred_at) AS slot, agent AS who, toInt128(0) AS lc, messages AS lm, toInt64(1) AS le, toInt128(0) AS rc, toInt64(0) AS rm, toInt64(0) AS re
        FROM usage_ledger
        WHERE workspace = {workspace:String}
            AND outcome IN ('playground') AND agent = {agent:String}
            AND occurred_at >= toDateTime({from_4:UInt32}, 'UTC') AND occurred_at < toDateTime({to_4:UInt32}, 'UTC')
        UNION ALL
        SELECT time AS slot, agent AS who, toInt128(0), toInt64(0), toInt64(0), toInt128(0), messages, events
        FROM usage_playground
        WHERE workspace = {workspace:String} AND agent = {agent:String}
            AND time >= toDateTime({from_4:UInt32}, 'UTC') AND time < toDateTime({to_4:UInt32}, 'UTC')
    )
    GROUP BY slot, who
)
FORMAT Native
-- agent = agt_support
-- from_0 = 1795112100
-- from_1 = 1795112100
-- from_2 = 1795114800
-- from_3 = 1795132800
-- from_4 = 1795112100
-- to_0 = 1795371300
-- to_1 = 1795371300
-- to_2 = 1795370400
-- to_3 = 1795305600
-- to_4 = 1795371300
-- workspace = ws_acme

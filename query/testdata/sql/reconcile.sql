-- A range added up twice: from the rollups that answers are read from, and from the ledger by outcome.
SELECT
    toUInt8(0) AS part,
    toUInt32(0) AS bar,
    '' AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_hour
WHERE workspace = {workspace:String}
    AND agent = {agent:String}
    AND (
        (time >= toDateTime({r0_from:UInt32}, 'UTC') AND time < toDateTime({r0_to:UInt32}, 'UTC')
            AND intDiv(toUInt32(time), 3600) NOT IN {r0_skip:Array(UInt32)})
    )
UNION ALL
SELECT
    toUInt8(0) AS part,
    toUInt32(0) AS bar,
    '' AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_quarter
WHERE workspace = {workspace:String}
    AND agent = {agent:String}
    AND (
        (time >= toDateTime({r1_from:UInt32}, 'UTC') AND time < toDateTime({r1_to:UInt32}, 'UTC')
            AND intDiv(toUInt32(time), 3600) IN {r1_inside:Array(UInt32)})
    )
UNION ALL
SELECT
    toUInt8(100) AS part,
    toUInt32(outcome) AS bar,
    '' AS who,
    sum(toInt128(credits)) AS spent,
    sum(messages) AS answered,
    toInt64(count()) AS recorded
FROM usage_ledger
WHERE workspace = {workspace:String}
    AND agent = {agent:String}
    AND occurred_at >= toDateTime({from:UInt32}, 'UTC')
    AND occurred_at < toDateTime({to:UInt32}, 'UTC')
GROUP BY outcome
FORMAT Native
-- agent = agt_support
-- from = 1795112100
-- r0_from = 1795114800
-- r0_skip = [498666,498690]
-- r0_to = 1795370400
-- r1_from = 1795112100
-- r1_inside = [498642,498666,498690,498714]
-- r1_to = 1795371300
-- to = 1795371300
-- workspace = ws_acme

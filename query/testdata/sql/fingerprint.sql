-- What there is of a workspace, so that an answer whose fingerprint is the same is the same answer. Counted
-- events are never taken away, so a count that has not changed means that nothing has.
SELECT
    toUInt8(0) AS part,
    toUInt32(0) AS bar,
    '' AS who,
    sumIf(credits, time < toDateTime({end:UInt32}, 'UTC')) AS spent,
    sumIf(messages, time < toDateTime({end:UInt32}, 'UTC')) AS answered,
    sumIf(events, time < toDateTime({end:UInt32}, 'UTC')) AS recorded
FROM usage_workspace_hour
WHERE workspace = {workspace:String}
UNION ALL
SELECT
    toUInt8(1) AS part,
    toUInt32(0) AS bar,
    '' AS who,
    toInt128(0) AS spent,
    sum(events) AS answered,
    sumIf(events, time >= toDateTime({start:UInt32}, 'UTC') AND time < toDateTime({end:UInt32}, 'UTC')) AS recorded
FROM usage_workspace_hour
WHERE workspace = {workspace:String}
UNION ALL
SELECT
    toUInt8(2) AS part,
    toUInt32(0) AS bar,
    '' AS who,
    toInt128(0) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_playground
WHERE workspace = {workspace:String} AND time < toDateTime({end:UInt32}, 'UTC')
FORMAT Native

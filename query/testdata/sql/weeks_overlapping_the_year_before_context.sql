-- What surrounds the figures: what is usual, which agents there were, and the last usage.
SELECT
    toUInt8(4) AS part,
    toUInt32(0) AS bar,
    CAST(agent, 'String') AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_day
WHERE workspace = {workspace:String}
    AND (
        (time >= toDateTime({r0_from:UInt32}, 'UTC') AND time < toDateTime({r0_to:UInt32}, 'UTC'))
    )
GROUP BY agent
UNION ALL
SELECT
    toUInt8(4) AS part,
    toUInt32(0) AS bar,
    CAST(agent, 'String') AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_hour
WHERE workspace = {workspace:String}
    AND (
        (time >= toDateTime({r1_from:UInt32}, 'UTC') AND time < toDateTime({r1_to:UInt32}, 'UTC'))
    )
GROUP BY agent
UNION ALL
SELECT
    toUInt8(5) AS part,
    toUInt32(time) AS bar,
    '' AS who,
    toInt128(0) AS spent,
    toInt64(0) AS answered,
    toInt64(0) AS recorded
FROM
(
    SELECT time
    FROM usage_quarter
    WHERE workspace = {workspace:String}
        AND events > 0
    ORDER BY time DESC
    LIMIT 1
)
FORMAT Native
-- r0_from = 0
-- r0_to = 1795305600
-- r1_from = 1795305600
-- r1_to = 1795388400
-- workspace = ws_acme

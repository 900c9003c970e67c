-- The figures of a range and of what it is compared with, by bar and agent, and its Playground tests.
SELECT
    toUInt8(0) AS part,
    toUInt32(roundDown(toUInt32(time), {edges_0:Array(UInt32)})) AS bar,
    CAST(agent, 'String') AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_quarter
WHERE workspace = {workspace:String}
    AND (
        (time >= toDateTime({r0_from:UInt32}, 'UTC') AND time < toDateTime({r0_to:UInt32}, 'UTC'))
        OR (time >= toDateTime({r1_from:UInt32}, 'UTC') AND time < toDateTime({r1_to:UInt32}, 'UTC'))
    )
GROUP BY bar, agent
UNION ALL
SELECT
    toUInt8(0) AS part,
    toUInt32(roundDown(toUInt32(time), {edges_0:Array(UInt32)})) AS bar,
    CAST(agent, 'String') AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_minute
WHERE workspace = {workspace:String}
    AND (
        (time >= toDateTime({r2_from:UInt32}, 'UTC') AND time < toDateTime({r2_to:UInt32}, 'UTC'))
    )
GROUP BY bar, agent
UNION ALL
SELECT
    toUInt8(3) AS part,
    toUInt32(0) AS bar,
    '' AS who,
    toInt128(0) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_playground
WHERE workspace = {workspace:String}
    AND (
        (time >= toDateTime({r3_from:UInt32}, 'UTC') AND time < toDateTime({r3_to:UInt32}, 'UTC'))
    )
FORMAT Native
-- edges_0 = [1794886200,1794889800,1794893400,1794897000,1794900600,1794904200,1794907800,1794911400,1794915000,1794918600,1794922200,1794925800,1794925920,1795491000,1795494600,1795498200,1795501800,1795505400,1795509000,1795512600,1795516200,1795519800,1795523400,1795527000,1795530600,1795534200,1795537800,1795541400,1795545000,1795548600,1795552200,1795555800,1795559400,1795563000,1795566600,1795570200,1795573800,1795577400]
-- r0_from = 1794886200
-- r0_to = 1794925800
-- r1_from = 1795491000
-- r1_to = 1795577400
-- r2_from = 1794925800
-- r2_to = 1794925920
-- r3_from = 1795491000
-- r3_to = 1795577400
-- workspace = ws_acme

-- The figures of a range and of what it is compared with, by bar and agent, and its Playground tests.
SELECT
    toUInt8(0) AS part,
    toUInt32(roundDown(toUInt32(time), {edges_0:Array(UInt32)})) AS bar,
    CAST(agent, 'String') AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_day
WHERE workspace = {workspace:String}
    AND (
        (time >= toDateTime({r0_from:UInt32}, 'UTC') AND time < toDateTime({r0_to:UInt32}, 'UTC'))
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
FROM usage_hour
WHERE workspace = {workspace:String}
    AND (
        (time >= toDateTime({r1_from:UInt32}, 'UTC') AND time < toDateTime({r1_to:UInt32}, 'UTC')
            AND intDiv(toUInt32(time), 86400) IN {r1_inside:Array(UInt32)})
    )
GROUP BY bar, agent
FORMAT Native
-- edges_0 = [1761951600,1764543600]
-- r0_from = 1761955200
-- r0_to = 1764460800
-- r1_from = 1761951600
-- r1_inside = [20392,20422]
-- r1_to = 1764543600
-- workspace = ws_acme

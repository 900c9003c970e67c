-- The figures of a range and of what it is compared with, by bar and agent, and its Playground tests.
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
        (time >= toDateTime({r0_from:UInt32}, 'UTC') AND time < toDateTime({r0_to:UInt32}, 'UTC'))
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
        (time >= toDateTime({r1_from:UInt32}, 'UTC') AND time < toDateTime({r1_to:UInt32}, 'UTC'))
    )
FORMAT Native
-- edges_0 = [1792936800,1792936860,1792936920,1792936980,1792937040,1792937100,1792937160,1792937220,1792937280,1792937340,1792937400,1792937460,1792937520,1792937580,1792937640,1792937700,1792937760,1792937820,1792937880,1792937940,1792938000,1792938060,1792938120,1792938180,1792938240,1792938300,1792938360,1792938420,1792938480,1792938540,1792938600,1792938660,1792938720,1792938780,1792938840,1792938900,1792938960,1792939020,1792939080,1792939140,1792939200,1792939260,1792939320,1792939380,1792939440,1792939500,1792939560,1792939620,1792939680,1792939740,1792939800,1792939860,1792939920,1792939980,1792940040,1792940100,1792940160,1792940220,1792940280,1792940340,1792940400]
-- r0_from = 1792936800
-- r0_to = 1792940400
-- r1_from = 1792936800
-- r1_to = 1792940400
-- workspace = ws_acme

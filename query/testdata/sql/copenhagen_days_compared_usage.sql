-- The figures of a range and of what it is compared with, by bar and agent, and its Playground tests.
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
-- edges_0 = [1790373600,1790460000,1790546400,1790632800,1790719200,1790805600,1790892000,1790978400,1791064800,1791151200,1791237600,1791324000,1791410400,1791496800,1791583200,1791669600,1791756000,1791842400,1791928800,1792015200,1792101600,1792188000,1792274400,1792360800,1792447200,1792533600,1792620000,1792706400,1792792800,1792879200,1792935120,1792969200,1793055600,1793142000,1793228400,1793314800,1793401200,1793487600,1793574000,1793660400,1793746800,1793833200,1793919600,1794006000,1794092400,1794178800,1794265200,1794351600,1794438000,1794524400,1794610800,1794697200,1794783600,1794870000,1794956400,1795042800,1795129200,1795215600,1795302000,1795388400,1795474800,1795561200]
-- r0_from = 1790373600
-- r0_to = 1792933200
-- r1_from = 1792969200
-- r1_to = 1795561200
-- r2_from = 1792933200
-- r2_to = 1792935120
-- r3_from = 1792969200
-- r3_to = 1795561200
-- workspace = ws_acme

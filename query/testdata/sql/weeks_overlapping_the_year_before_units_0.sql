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
        (time >= toDateTime({r0_from:UInt32}, 'UTC') AND time < toDateTime({r0_to:UInt32}, 'UTC')
            AND intDiv(toUInt32(time), 86400) NOT IN {r0_skip:Array(UInt32)})
        OR (time >= toDateTime({r1_from:UInt32}, 'UTC') AND time < toDateTime({r1_to:UInt32}, 'UTC')
            AND intDiv(toUInt32(time), 86400) NOT IN {r1_skip:Array(UInt32)})
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
        (time >= toDateTime({r2_from:UInt32}, 'UTC') AND time < toDateTime({r2_to:UInt32}, 'UTC')
            AND intDiv(toUInt32(time), 86400) IN {r2_inside:Array(UInt32)})
        OR (time >= toDateTime({r3_from:UInt32}, 'UTC') AND time < toDateTime({r3_to:UInt32}, 'UTC')
            AND intDiv(toUInt32(time), 86400) IN {r3_inside:Array(UInt32)})
    )
GROUP BY bar, agent
FORMAT Native
-- edges_0 = [1717192800,1719784800,1722463200,1725141600,1727733600,1730415600,1733007600,1735686000,1738364400,1740783600,1743458400,1746050400,1748728800,1751320800,1753999200,1756677600,1759269600,1761951600,1763852400,1764543600,1767222000,1769900400,1772319600,1774994400,1777586400,1780264800,1782856800,1785535200,1788213600,1790805600,1793487600,1795388400]
-- r0_from = 1717200000
-- r0_skip = [19904,19935,19966,19996,20027,20057,20088,20119,20147,20178,20208,20239,20269,20300,20331,20361,20392]
-- r0_to = 1763769600
-- r1_from = 1764547200
-- r1_skip = [20453,20484,20512,20543,20573,20604,20634,20665,20696,20726,20757]
-- r1_to = 1795305600
-- r2_from = 1717192800
-- r2_inside = [19874,19904,19935,19966,19996,20027,20057,20088,20119,20147,20178,20208,20239,20269,20300,20331,20361,20392,20414]
-- r2_to = 1763852400
-- r3_from = 1764543600
-- r3_inside = [20422,20453,20484,20512,20543,20573,20604,20634,20665,20696,20726,20757,20779]
-- r3_to = 1795388400
-- workspace = ws_acme

-- What the whole workspace used, by bar: what figures that are held must add up to.
SELECT
    toUInt8(6) AS part,
    toUInt32(roundDown(toUInt32(time), {edges_6:Array(UInt32)})) AS bar,
    '' AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_workspace_hour
WHERE workspace = {workspace:String}
    AND (
        (time >= toDateTime({r0_from:UInt32}, 'UTC') AND time < toDateTime({r0_to:UInt32}, 'UTC'))
    )
GROUP BY bar
FORMAT Native
-- edges_6 = [0,1717192800,1719784800,1722463200,1725141600,1727733600,1730415600,1733007600,1735686000,1738364400,1740783600,1743458400,1746050400,1748728800,1751320800,1753999200,1756677600,1759269600,1761951600,1763852400,1764543600,1767222000,1769900400,1772319600,1774994400,1777586400,1780264800,1782856800,1785535200,1788213600,1790805600,1793487600,1795388400,4291747200]
-- r0_from = 0
-- r0_to = 4291747200
-- workspace = ws_acme

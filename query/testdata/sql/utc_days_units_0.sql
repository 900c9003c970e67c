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
FORMAT Native
-- edges_0 = [1792972800,1793059200,1793145600,1793232000,1793318400,1793404800,1793491200,1793577600,1793664000,1793750400,1793836800,1793923200,1794009600,1794096000,1794182400,1794268800,1794355200,1794441600,1794528000,1794614400,1794700800,1794787200,1794873600,1794960000,1795046400,1795132800,1795219200,1795305600,1795392000,1795478400,1795564800]
-- r0_from = 1792972800
-- r0_to = 1795564800
-- workspace = ws_acme

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
-- edges_6 = [0,1792972800,1793059200,1793145600,1793232000,1793318400,1793404800,1793491200,1793577600,1793664000,1793750400,1793836800,1793923200,1794009600,1794096000,1794182400,1794268800,1794355200,1794441600,1794528000,1794614400,1794700800,1794787200,1794873600,1794960000,1795046400,1795132800,1795219200,1795305600,1795392000,1795478400,1795564800,4291747200]
-- r0_from = 0
-- r0_to = 4291747200
-- workspace = ws_acme

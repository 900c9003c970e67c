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
-- edges_6 = [0,1792936800,1792940400,4291747200]
-- r0_from = 0
-- r0_to = 4291747200
-- workspace = ws_acme

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
-- edges_6 = [0,1794884400,1794888000,1794891600,1794895200,1794898800,1794902400,1794906000,1794909600,1794913200,1794916800,1794920400,1794924000,1794927600,1795489200,1795492800,1795496400,1795500000,1795503600,1795507200,1795510800,1795514400,1795518000,1795521600,1795525200,1795528800,1795532400,1795536000,1795539600,1795543200,1795546800,1795550400,1795554000,1795557600,1795561200,1795564800,1795568400,1795572000,1795575600,1795579200,4291747200]
-- r0_from = 0
-- r0_to = 4291747200
-- workspace = ws_acme

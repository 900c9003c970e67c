-- What the whole workspace used, by hour, with all before {from} as one hour: what figures that are held must add up to.
SELECT
    toUInt8(6) AS part,
    if(time < toDateTime({from:UInt32}, 'UTC'), 0, toUInt32(time)) AS bar,
    '' AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_workspace_hour
WHERE workspace = {workspace:String}
GROUP BY bar
FORMAT Native
-- from = 1795528800
-- workspace = ws_acme

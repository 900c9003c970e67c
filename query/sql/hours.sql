-- What the whole workspace used, by hour, with all before {from} as one hour; and its Playground tests. It is what
-- figures that are held must add up to.
SELECT
    toUInt8([[.Hours]]) AS part,
    if(time < toDateTime({from:UInt32}, 'UTC'), 0, toUInt32(time)) AS bar,
    '' AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_workspace_hour
WHERE workspace = {workspace:String}
GROUP BY bar
UNION ALL
SELECT
    toUInt8([[.Playground]]),
    toUInt32(0),
    '',
    toInt128(0),
    sum(messages),
    sum(events)
FROM usage_playground
WHERE workspace = {workspace:String}
FORMAT Native

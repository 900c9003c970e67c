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
        (time >= toDateTime({r0_from:UInt32}, 'UTC') AND time < toDateTime({r0_to:UInt32}, 'UTC')
            AND intDiv(toUInt32(time), 3600) NOT IN {r0_skip:Array(UInt32)})
        OR (time >= toDateTime({r1_from:UInt32}, 'UTC') AND time < toDateTime({r1_to:UInt32}, 'UTC')
            AND intDiv(toUInt32(time), 3600) NOT IN {r1_skip:Array(UInt32)})
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
FROM usage_quarter
WHERE workspace = {workspace:String}
    AND (
        (time >= toDateTime({r2_from:UInt32}, 'UTC') AND time < toDateTime({r2_to:UInt32}, 'UTC')
            AND intDiv(toUInt32(time), 3600) IN {r2_inside:Array(UInt32)})
    )
GROUP BY bar, agent
FORMAT Native
-- edges_0 = [1763575200,1763576100,1763578800,1763661600,1763662500,1763665200,1763748000,1763748900,1763751600,1763834400,1763835300,1763838000,1795111200,1795112100,1795114800,1795197600,1795198500,1795201200,1795284000,1795284900,1795287600,1795370400,1795371300,1795374000]
-- r0_from = 1763578800
-- r0_skip = [489906,489930]
-- r0_to = 1763834400
-- r1_from = 1795114800
-- r1_skip = [498666,498690]
-- r1_to = 1795370400
-- r2_from = 1763575200
-- r2_inside = [489882,489906,489930,489954,498642,498666,498690,498714]
-- r2_to = 1795374000
-- workspace = ws_acme

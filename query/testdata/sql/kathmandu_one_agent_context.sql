-- What surrounds the figures: what is usual, which agents there were, and the last usage.
SELECT
    toUInt8(2) AS part,
    toUInt32(roundDown(toUInt32(time), {edges_2:Array(UInt32)})) AS bar,
    '' AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_hour
WHERE workspace = {workspace:String}
    AND agent = {agent:String}
    AND (
        (time >= toDateTime({r0_from:UInt32}, 'UTC') AND time < toDateTime({r0_to:UInt32}, 'UTC')
            AND intDiv(toUInt32(time), 3600) NOT IN {r0_skip:Array(UInt32)})
    )
GROUP BY bar
UNION ALL
SELECT
    toUInt8(2) AS part,
    toUInt32(roundDown(toUInt32(time), {edges_2:Array(UInt32)})) AS bar,
    '' AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_quarter
WHERE workspace = {workspace:String}
    AND agent = {agent:String}
    AND (
        (time >= toDateTime({r1_from:UInt32}, 'UTC') AND time < toDateTime({r1_to:UInt32}, 'UTC')
            AND intDiv(toUInt32(time), 3600) IN {r1_inside:Array(UInt32)})
    )
GROUP BY bar
UNION ALL
SELECT
    toUInt8(4) AS part,
    toUInt32(0) AS bar,
    CAST(agent, 'String') AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_day
WHERE workspace = {workspace:String}
    AND agent = {agent:String}
    AND (
        (time >= toDateTime({r2_from:UInt32}, 'UTC') AND time < toDateTime({r2_to:UInt32}, 'UTC'))
    )
GROUP BY agent
UNION ALL
SELECT
    toUInt8(4) AS part,
    toUInt32(0) AS bar,
    CAST(agent, 'String') AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_quarter
WHERE workspace = {workspace:String}
    AND agent = {agent:String}
    AND (
        (time >= toDateTime({r3_from:UInt32}, 'UTC') AND time < toDateTime({r3_to:UInt32}, 'UTC'))
    )
GROUP BY agent
UNION ALL
SELECT
    toUInt8(5) AS part,
    toUInt32(time) AS bar,
    '' AS who,
    toInt128(0) AS spent,
    toInt64(0) AS answered,
    toInt64(0) AS recorded
FROM
(
    SELECT time
    FROM usage_quarter
    WHERE workspace = {workspace:String}
        AND agent = {agent:String}
        AND time >= (SELECT max(time) FROM usage_day WHERE workspace = {workspace:String} AND agent = {agent:String})
        AND time < (SELECT max(time) FROM usage_day WHERE workspace = {workspace:String} AND agent = {agent:String}) + INTERVAL 1 DAY
        AND events > 0
    ORDER BY time DESC
    LIMIT 1
)
FORMAT Native
-- agent = agt_support
-- edges_2 = [1790273700,1790360100,1790446500,1790532900,1790619300,1790705700,1790792100,1790878500,1790964900,1791051300,1791137700,1791224100,1791310500,1791396900,1791483300,1791569700,1791656100,1791742500,1791828900,1791915300,1792001700,1792088100,1792174500,1792260900,1792347300,1792433700,1792520100,1792606500,1792692900,1792779300,1792865700,1792952100,1793038500,1793124900,1793211300,1793297700,1793384100,1793470500,1793556900,1793643300,1793729700,1793816100,1793902500,1793988900,1794075300,1794161700,1794248100,1794334500,1794420900,1794507300,1794593700,1794680100,1794766500,1794852900,1794939300,1795025700,1795112100,1795198500,1795284900]
-- r0_from = 1790276400
-- r0_skip = [497322,497346,497370,497394,497418,497442,497466,497490,497514,497538,497562,497586,497610,497634,497658,497682,497706,497730,497754,497778,497802,497826,497850,497874,497898,497922,497946,497970,497994,498018,498042,498066,498090,498114,498138,498162,498186,498210,498234,498258,498282,498306,498330,498354,498378,498402,498426,498450,498474,498498,498522,498546,498570,498594,498618,498642,498666]
-- r0_to = 1795284000
-- r1_from = 1790273700
-- r1_inside = [497298,497322,497346,497370,497394,497418,497442,497466,497490,497514,497538,497562,497586,497610,497634,497658,497682,497706,497730,497754,497778,497802,497826,497850,497874,497898,497922,497946,497970,497994,498018,498042,498066,498090,498114,498138,498162,498186,498210,498234,498258,498282,498306,498330,498354,498378,498402,498426,498450,498474,498498,498522,498546,498570,498594,498618,498642,498666,498690]
-- r1_to = 1795284900
-- r2_from = 0
-- r2_to = 1795305600
-- r3_from = 1795305600
-- r3_to = 1795371300
-- workspace = ws_acme

-- What surrounds the figures: what is usual, which agents there were, and the last usage.
[[template "branches" .Branches]]
[[- if .Branches]]
UNION ALL
[[end -]]
SELECT
    toUInt8([[.LastPart]]) AS part,
    toUInt32(time) AS bar,
    '' AS who,
    toInt128(0) AS spent,
    toInt64(0) AS answered,
    toInt64(0) AS recorded
FROM
(
    SELECT time
    FROM [[.LastTable]]
    WHERE workspace = {workspace:String}
[[- if .OneAgent]]
        AND agent = {agent:String}
        AND time >= (SELECT max(time) FROM [[.DayTable]] WHERE workspace = {workspace:String} AND agent = {agent:String})
        AND time < (SELECT max(time) FROM [[.DayTable]] WHERE workspace = {workspace:String} AND agent = {agent:String}) + INTERVAL 1 DAY
[[- end]]
        AND events > 0
    ORDER BY time DESC
    LIMIT 1
)
FORMAT Native

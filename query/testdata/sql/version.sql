-- How many events of a workspace have been counted. They are never taken away.
SELECT
    toUInt8(0) AS part,
    toUInt32(0) AS bar,
    '' AS who,
    sum(credits) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_workspace_hour
WHERE workspace = {workspace:String}
FORMAT Native

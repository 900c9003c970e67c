-- All Playground tests of a workspace, whenever they were.
SELECT
    toUInt8([[.Part]]) AS part,
    toUInt32(0) AS bar,
    '' AS who,
    toInt128(0) AS spent,
    sum(messages) AS answered,
    sum(events) AS recorded
FROM usage_playground
WHERE workspace = {workspace:String}
FORMAT Native

-- Every agent with usage, and what it spent of late.
SELECT
    CAST(agent, 'String') AS who,
    sumIf(credits, time >= toDateTime({since:UInt32}, 'UTC')) AS spent
FROM usage_day
WHERE workspace = {workspace:String}
GROUP BY agent
HAVING sum(events) != 0
FORMAT Native

-- What there is of a workspace, so that an answer whose fingerprint is the same is the same answer. Counted
-- events are never taken away, so a count that has not changed means that nothing has.
SELECT
    sumIf(credits, time < toDateTime({end:UInt32}, 'UTC')) AS spent,
    sumIf(messages, time < toDateTime({end:UInt32}, 'UTC')) AS answered,
    sumIf(events, time < toDateTime({end:UInt32}, 'UTC')) AS recorded,
    sumIf(events, time >= toDateTime({start:UInt32}, 'UTC') AND time < toDateTime({end:UInt32}, 'UTC')) AS within,
    sum(events) AS everything,
    ifNull(
        (
            SELECT sum(events)
            FROM usage_playground
            WHERE workspace = {workspace:String} AND time < toDateTime({end:UInt32}, 'UTC')
        ), 0
    ) AS tests
FROM usage_workspace_hour
WHERE workspace = {workspace:String}
FORMAT Native

-- The heaviest keys of a range, straight from the ledger, and what all keys have together.
SELECT
    key,
    spent,
    answered,
    sum(spent) OVER () AS all_spent,
    sum(answered) OVER () AS all_answered,
    toInt64(count() OVER ()) AS keys
FROM
(
    SELECT
        CAST(conversation, 'String') AS key,
        sum(toInt128(credits)) AS spent,
        sum(messages) AS answered
    FROM usage_ledger
    WHERE workspace = {workspace:String}
        AND outcome IN ('counted', 'adjustment')
        AND occurred_at >= toDateTime({from:UInt32}, 'UTC')
        AND occurred_at < toDateTime({to:UInt32}, 'UTC')
    GROUP BY conversation
)
ORDER BY spent DESC, answered DESC, key
LIMIT {limit:UInt32}
FORMAT Native

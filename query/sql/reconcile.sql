-- A range added up twice: from the rollups that answers are read from, and from the ledger by outcome.
[[template "branches" .Branches]]
[[- if .Branches]]
UNION ALL
[[end -]]
SELECT
    toUInt8([[.LedgerPart]]) AS part,
    toUInt32(outcome) AS bar,
    '' AS who,
    sum(toInt128(credits)) AS spent,
    sum(messages) AS answered,
    toInt64(count()) AS recorded
FROM usage_ledger
WHERE workspace = {workspace:String}
[[- if .OneAgent]]
    AND agent = {agent:String}
[[- end]]
    AND occurred_at >= toDateTime({from:UInt32}, 'UTC')
    AND occurred_at < toDateTime({to:UInt32}, 'UTC')
GROUP BY outcome
FORMAT Native

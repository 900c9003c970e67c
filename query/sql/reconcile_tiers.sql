-- Each rollup beside the ledger, bucket by bucket, for the whole buckets of a range.
[[- range $i, $tier := .Tiers]]
[[- if $i]]
UNION ALL
[[- end]]
SELECT
    toUInt8([[.Number]]) AS tier,
    sum(ledger_credits) AS spent,
    sum(ledger_messages) AS answered,
    sum(ledger_events) AS recorded,
    sum(rollup_credits) AS rolled_spent,
    sum(rollup_messages) AS rolled_answered,
    sum(rollup_events) AS rolled_recorded,
    toInt64(countIf(differs)) AS differing,
    toUInt32(minIf(slot, differs)) AS first,
    toUInt32(maxIf(slot, differs)) AS last
FROM
(
    SELECT
        slot,
        sum(lc) AS ledger_credits, sum(lm) AS ledger_messages, sum(le) AS ledger_events,
        sum(rc) AS rollup_credits, sum(rm) AS rollup_messages, sum(re) AS rollup_events,
        ledger_credits != rollup_credits OR ledger_messages != rollup_messages OR ledger_events != rollup_events AS differs
    FROM
    (
        SELECT [[.Bucket]] AS slot, [[.Who]] AS who, [[.LedgerCredits]] AS lc, messages AS lm, toInt64(1) AS le, toInt128(0) AS rc, toInt64(0) AS rm, toInt64(0) AS re
        FROM usage_ledger
        WHERE workspace = {workspace:String}
            AND outcome IN ([[.Outcomes]])
            [[- if $.OneAgent]] AND agent = {agent:String}[[end]]
            AND occurred_at >= toDateTime({from_[[.Number]]:UInt32}, 'UTC') AND occurred_at < toDateTime({to_[[.Number]]:UInt32}, 'UTC')
            [[- template "place" $]]
        UNION ALL
        SELECT time AS slot, [[.Who]] AS who, toInt128(0), toInt64(0), toInt64(0), [[.RollupCredits]], messages, events
        FROM [[.Table]]
        WHERE workspace = {workspace:String}
            [[- if $.OneAgent]] AND agent = {agent:String}[[end]]
            AND time >= toDateTime({from_[[.Number]]:UInt32}, 'UTC') AND time < toDateTime({to_[[.Number]]:UInt32}, 'UTC')
            [[- template "place" $]]
    )
    GROUP BY slot, who
)
[[- end]]
FORMAT Native

[[- define "place"]]
    [[- if .Here]] AND stream = {stream:UUID} AND partition = {partition:Int32}[[end]]
    [[- if .Elsewhere]] AND (stream, partition) NOT IN (SELECT arrayJoin(arrayZip({streams:Array(UUID)}, {partitions:Array(Int32)})))[[end]]
[[- end]]

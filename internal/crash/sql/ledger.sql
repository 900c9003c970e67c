-- Every row of the ledger, as the verdict compares it.
SELECT partition, offset, toInt8(outcome), block_lo, block_hi, workspace, event_id, agent, channel, toUnixTimestamp64Micro(occurred_at), credits, messages, detail
FROM usage_ledger
ORDER BY partition, offset
FORMAT TabSeparated

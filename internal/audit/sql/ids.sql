-- Of the events that were recorded, how many ids are recorded twice, and how many the id look-up lacks.
SELECT toInt64(count()) AS recorded, toInt64(uniqExact(workspace, event_id)) AS ids,
    (SELECT toInt64(count()) FROM usage_ids WHERE stream = {stream:UUID} AND partition = {partition:Int32}) AS looked_up
FROM usage_ledger
WHERE stream = {stream:UUID} AND partition = {partition:Int32} AND outcome IN ('counted', 'playground', 'adjustment')

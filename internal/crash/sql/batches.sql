-- What became of the events of each batch: an id is the batch's number and the event's within
-- it, of which a set takes far less memory than one of ids.
SELECT workspace, splitByChar('-', event_id)[1] AS batch, count() AS events,
  groupBitmap(toUInt32OrZero(splitByChar('-', event_id)[2])) AS ids,
  sum(credits) AS credits, sum(messages) AS messages
FROM usage_ledger
WHERE outcome IN ('counted', 'playground', 'adjustment')
GROUP BY workspace, batch
FORMAT TabSeparated

-- How many rows the ledger has.
SELECT count() FROM usage_ledger FORMAT TabSeparated

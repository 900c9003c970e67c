-- How many of the tables that questions are put to are there.
SELECT count() AS tables
FROM system.tables
WHERE database = currentDatabase() AND name IN (
    'usage_ledger', 'usage_minute', 'usage_quarter', 'usage_hour', 'usage_day', 'usage_workspace_hour',
    'usage_playground', 'usage_streams', 'rollup_progress',
    'directory_workspaces', 'directory_agents', 'directory_members'
)
FORMAT Native

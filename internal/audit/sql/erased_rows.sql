-- Erased workspaces of which a table has rows still.
SELECT DISTINCT workspace FROM {{.}} WHERE workspace IN (SELECT DISTINCT workspace FROM usage_erasures) ORDER BY workspace

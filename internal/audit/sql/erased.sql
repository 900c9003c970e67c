-- The workspaces that were erased.
SELECT DISTINCT workspace FROM usage_erasures

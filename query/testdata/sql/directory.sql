-- The history of a workspace's agents (kind 0) and team members (kind 1).
SELECT
    toUInt8(0) AS kind,
    agent AS id,
    toUnixTimestamp64Micro(valid_from) AS valid_from,
    source_offset AS change,
    name,
    deleted
FROM directory_agents
WHERE workspace = {workspace:String}
UNION ALL
SELECT
    toUInt8(1) AS kind,
    member AS id,
    toUnixTimestamp64Micro(valid_from) AS valid_from,
    source_offset AS change,
    name,
    deleted
FROM directory_members
WHERE workspace = {workspace:String}
FORMAT Native

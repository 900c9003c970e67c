-- The history of a workspace's settings.
SELECT
    toUnixTimestamp64Micro(valid_from) AS valid_from,
    source_offset AS change,
    name,
    CAST(timezone, 'String') AS timezone,
    if(billing_anchor = toDate32('1970-01-01'), '', toString(billing_anchor)) AS billing_anchor,
    ifNull(agent_slots, -1) AS agent_slots,
    ifNull(seats, -1) AS seats,
    toJSONString(links) AS links,
    support_email,
    product_name
FROM directory_workspaces
WHERE workspace = {workspace:String}
FORMAT Native

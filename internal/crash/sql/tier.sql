-- Every bucket of one rollup.
SELECT partition, workspace, toUnixTimestamp(time) AS at, {{if .ByAgent}}agent{{else}}''{{end}} AS who, {{if .Credits}}toString(sum(credits)){{else}}'0'{{end}} AS c, sum(messages) AS m, sum(events) AS e
FROM {{.Table}}
GROUP BY partition, workspace, time, who
FORMAT TabSeparated

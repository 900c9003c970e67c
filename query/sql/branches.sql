[[/* Figures by bar and agent: every branch is one tier, and its reads are the stretches of time that it answers. */ -]]
[[define "branches" -]]
[[range $i, $branch := . -]]
[[if $i]]
UNION ALL
[[end -]]
SELECT
    toUInt8([[.Part]]) AS part,
    [[if .Edges]]toUInt32(roundDown([[.Seconds]], {[[.Edges]]:Array(UInt32)}))[[else]]toUInt32(0)[[end]] AS bar,
    [[if .Who]]CAST([[.Who]], 'String')[[else]]''[[end]] AS who,
    [[.Credits]] AS spent,
    [[.Messages]] AS answered,
    [[.Events]] AS recorded
FROM [[.Table]]
WHERE workspace = {workspace:String}
[[- if .Outcomes]]
    AND outcome IN ([[.Outcomes]])
[[- end]]
[[- if .OneAgent]]
    AND agent = {agent:String}
[[- end]]
    AND (
[[- range $j, $read := .Reads]]
        [[if $j]]OR [[end]]([[$branch.Time]] >= toDateTime({[[.Name]]_from:UInt32}, 'UTC') AND [[$branch.Time]] < toDateTime({[[.Name]]_to:UInt32}, 'UTC')
[[- if .Skip]]
            AND intDiv([[$branch.Seconds]], [[.Step]]) NOT IN {[[.Name]]_skip:Array(UInt32)}
[[- end]]
[[- if .Inside]]
            AND intDiv([[$branch.Seconds]], [[.InsideStep]]) IN {[[.Name]]_inside:Array(UInt32)}
[[- end]])
[[- end]]
    )
[[- if or .Edges .Who]]
GROUP BY [[if .Edges]]bar[[end]][[if and .Edges .Who]], [[end]][[if .Who]][[.Who]][[end]]
[[- end]]
[[- end]]
[[- end]]

package audit

import (
	"bytes"
	"context"
	"slices"
	"text/template"

	tables "agentmeter/schemas/clickhouse"
)

// UnfinishedErasure is an erased workspace of which there are rows still: its
// erasure runs, was cut off, or has to be run again.
type UnfinishedErasure struct {
	Workspace string   `json:"workspace"`
	Tables    []string `json:"tables"`
}

var (
	erasedSQL          = readSQL("erased.sql")
	erasedRowsTemplate = template.Must(template.New("erased_rows").Parse(readSQL("erased_rows.sql")))
)

// erasures looks for rows of workspaces that were erased. They are no
// inexactness: each table may agree with the others. Rollups and directory are
// found through their keys, so it costs little where few were erased, and nothing
// where none was; the ledger is read by one column, which is for those who read
// all of it.
func (a *auditor) erasures(ctx context.Context, ledger bool) ([]UnfinishedErasure, error) {
	erased := 0
	err := a.ask(ctx, Partition{}, question{sql: erasedSQL}, func([]string) error {
		erased++
		return nil
	})
	if err != nil || erased == 0 {
		return []UnfinishedErasure{}, err
	}
	named := []string{tables.DirectoryWorkspaces, tables.DirectoryAgents, tables.DirectoryMembers}
	for _, rollup := range tables.Rollups {
		named = append(named, rollup.Table)
	}
	if ledger {
		named = append(named, tables.Ledger)
	}
	found := []UnfinishedErasure{}
	for _, table := range named {
		var sql bytes.Buffer
		if err := erasedRowsTemplate.Execute(&sql, table); err != nil {
			return nil, err
		}
		err := a.ask(ctx, Partition{}, question{sql: sql.String()}, func(fields []string) error {
			i := slices.IndexFunc(found, func(u UnfinishedErasure) bool { return u.Workspace == fields[0] })
			if i < 0 {
				i = len(found)
				found = append(found, UnfinishedErasure{Workspace: fields[0]})
			}
			found[i].Tables = append(found[i].Tables, table)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

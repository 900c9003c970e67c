// Package clickhouse holds the ClickHouse schema: the numbered migrations,
// which only ever move forward, and the names and bucket expressions of the
// rollups that the migrations create. A test holds the two together.
package clickhouse

import (
	"embed"
	"strings"

	"agentmeter/schemas"
)

// Migrations are the goose migrations, to be applied in the order of their
// numbers. One that has shipped is never edited.
//
// 3 and 5 are missing: they made the id look-up of earlier releases, which no
// database gets any more. 9 makes today's; one that has the earlier is moved to it
// before (IDMove).
//
//go:embed *.sql
var Migrations embed.FS

// Tables that are not rollups.
const (
	Ledger              = "usage_ledger"
	Streams             = "usage_streams"
	Progress            = "rollup_progress"
	IDs                 = "usage_id_places"
	Erasures            = "usage_erasures"
	DirectoryWorkspaces = "directory_workspaces"
	DirectoryAgents     = "directory_agents"
	DirectoryMembers    = "directory_members"
)

// IDKey is the schemas.IDKey of the event that a row of the ledger recorded.
const IDKey = `reinterpretAsUInt64(reverse(substring(SHA256(concat(workspace, '\0', event_id)), 1, 6)))`

// Recorded is true of a row of the ledger that recorded an event first: its id is looked up.
const Recorded = `outcome IN ('counted', 'playground', 'adjustment')`

// Expand puts IDKey and Recorded where a statement says {{idKey}} and {{recorded}}.
func Expand(sql string) string {
	return strings.NewReplacer("{{idKey}}", IDKey, "{{recorded}}", Recorded).Replace(sql)
}

// Rollup describes one table that a materialized view keeps off the ledger:
// what audit compares with the ledger and reconcile repairs.
type Rollup struct {
	Table    string
	Step     schemas.Step
	Bucket   string // the bucket start of a ledger row, as the view computes it
	Outcomes string // which ledger rows enter it, as a SQL list
	ByAgent  bool   // keyed by agent
	Credits  bool   // carries credits
	// RetentionDays, where positive, is how long rows are kept; older buckets
	// are outside the audit and are answered from the ledger.
	RetentionDays int
}

const (
	countedOutcomes    = "'counted', 'adjustment'"
	playgroundOutcomes = "'playground'"
)

// The rollups.
var (
	Minute        = Rollup{Table: "usage_minute", Step: schemas.StepMinute, Bucket: "toStartOfMinute(occurred_at)", Outcomes: countedOutcomes, ByAgent: true, Credits: true, RetentionDays: 32}
	Quarter       = Rollup{Table: "usage_quarter", Step: schemas.StepQuarter, Bucket: "toStartOfFifteenMinutes(occurred_at)", Outcomes: countedOutcomes, ByAgent: true, Credits: true}
	Hour          = Rollup{Table: "usage_hour", Step: schemas.StepHour, Bucket: "toStartOfHour(occurred_at)", Outcomes: countedOutcomes, ByAgent: true, Credits: true}
	Day           = Rollup{Table: "usage_day", Step: schemas.StepDay, Bucket: "toDateTime(toStartOfDay(occurred_at), 'UTC')", Outcomes: countedOutcomes, ByAgent: true, Credits: true}
	WorkspaceHour = Rollup{Table: "usage_workspace_hour", Step: schemas.StepHour, Bucket: "toStartOfHour(occurred_at)", Outcomes: countedOutcomes, Credits: true}
	Playground    = Rollup{Table: "usage_playground", Step: schemas.StepQuarter, Bucket: "toStartOfFifteenMinutes(occurred_at)", Outcomes: playgroundOutcomes, ByAgent: true}
)

// Rollups lists every rollup.
var Rollups = []Rollup{Minute, Quarter, Hour, Day, WorkspaceHour, Playground}

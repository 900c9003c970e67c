package rollup

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/schemas"
	"agentmeter/schemas/usagev1"
)

// DirectoryChangesOf says which records of the directory topic are changes of
// one of the workspaces.
func DirectoryChangesOf(workspaces map[schemas.WorkspaceID]bool) func(*kgo.Record) bool {
	return func(record *kgo.Record) bool {
		var change usagev1.DirectoryChange
		return change.UnmarshalVT(record.Value) == nil && workspaces[schemas.WorkspaceID(change.WorkspaceId)]
	}
}

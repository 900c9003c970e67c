package deadletters

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/schemas"
)

// Of says which records of the dead-letter topic are letters of a workspace, as
// far as their bytes or their key tell.
func Of(workspace schemas.WorkspaceID) func(*kgo.Record) bool {
	return func(record *kgo.Record) bool {
		letter, ok := letterOf(record, 1)
		return ok && schemas.RecordWorkspace(letter.Key, letter.Value) == workspace
	}
}

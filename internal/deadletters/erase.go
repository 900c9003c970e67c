package deadletters

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/schemas"
)

// Of says which records of the dead-letter topic are letters of one of the
// workspaces, as far as their bytes or their key tell.
func Of(workspaces map[schemas.WorkspaceID]bool) func(*kgo.Record) bool {
	return func(record *kgo.Record) bool {
		letter, ok := letterOf(record, 1)
		return ok && workspaces[schemas.RecordWorkspace(letter.Key, letter.Value)]
	}
}

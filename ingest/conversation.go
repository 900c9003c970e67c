package ingest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"hash"

	"agentmeter/schemas"
)

// minConversationKey is how long a key has to be: a hash whose key can be found by
// trying hides nothing, since ids of conversations can be.
const minConversationKey = 16

// conversationHashBytes of a hash are kept: enough that no two conversations ever
// share one.
const conversationHashBytes = 16

// conversations turns ids of conversations into what is stored in their place.
type conversations struct {
	mac hash.Hash // nil: they are stored as they are
	sum [sha256.Size]byte
}

func newConversations(key []byte) conversations {
	if len(key) == 0 {
		return conversations{}
	}
	return conversations{mac: hmac.New(sha256.New, key)}
}

// stored is what is stored of a conversation's id: the same for the same conversation
// of a workspace, different in another workspace, and no way back without the key.
// Events without one stay without.
func (c *conversations) stored(workspace schemas.WorkspaceID, id string) string {
	if c.mac == nil || id == "" {
		return id
	}
	c.mac.Reset()
	_, _ = c.mac.Write([]byte(workspace)) // a hash takes whatever it is given
	_, _ = c.mac.Write([]byte{0})         // which is in no workspace's id
	_, _ = c.mac.Write([]byte(id))
	return base64.RawURLEncoding.EncodeToString(c.mac.Sum(c.sum[:0])[:conversationHashBytes])
}

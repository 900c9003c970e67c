package clickhouse

import (
	"context"
	"errors"
	"net/url"

	clickhousego "github.com/ClickHouse/clickhouse-go/v2"
)

// WithoutKeeper is for tests in the package of their own.
var WithoutKeeper = withoutKeeper

// MoveFewIDs makes statements move about n ids each, until undo.
func MoveFewIDs(n int64) (undo func()) {
	was := idsAMove
	idsAMove = n
	return func() { idsAMove = was }
}

// MoveIDs does of a migration what moves ids.
func MoveIDs(ctx context.Context, config Config, say func(string)) error {
	config = config.withDefaults()
	base, err := url.Parse(config.URL)
	if err != nil {
		return err
	}
	db := clickhousego.OpenDB(config.options(base))
	return errors.Join(moveIDs(ctx, config, db, say), db.Close())
}

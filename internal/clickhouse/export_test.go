package clickhouse

import (
	"context"
	"errors"
	"net/url"

	clickhousego "github.com/ClickHouse/clickhouse-go/v2"

	tables "agentmeter/schemas/clickhouse"
)

// WithoutKeeper is for tests in the package of their own.
var WithoutKeeper = withoutKeeper

// MoveFewIDs makes statements move about n ids each, until undo.
func MoveFewIDs(n int64) (undo func()) {
	was := idsAMove
	idsAMove = n
	return func() { idsAMove = was }
}

// MigrateCluster migrates without asking whether the cluster is one on which counting
// can be promised.
func MigrateCluster(ctx context.Context, config Config) error {
	config = config.withDefaults()
	base, err := url.Parse(config.URL)
	if err != nil {
		return err
	}
	outside := config
	outside.Database = "default"
	conn, err := clickhousego.Open(outside.options(base))
	if err != nil {
		return err
	}
	db := clickhousego.OpenDB(config.options(base))
	c := tables.Cluster{Name: config.Cluster, Database: config.Database}
	_, err = migrateCluster(ctx, c, conn, db, tables.Migrations, func(ctx context.Context) error { return moveIDs(ctx, config, db, func(string) {}) })
	return errors.Join(err, conn.Close(), db.Close())
}

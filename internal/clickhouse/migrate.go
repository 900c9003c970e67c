package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	clickhousego "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pressly/goose/v3"
)

// ErrNewerSchema means that a newer release has migrated the database. What that
// changed is not known here, so nothing is done to it.
var ErrNewerSchema = errors.New("the database's schema is a newer release's; run that one, or restore the backup from before the upgrade")

// Migrate brings the database to the schema of the given migrations, creating
// it where it is missing, and returns the numbers that it applied. Every
// statement of a migration is idempotent, so running it twice, or two at once,
// is safe.
func Migrate(ctx context.Context, config Config, migrations fs.FS) (applied []int64, err error) {
	config = config.withDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	base, err := url.Parse(config.URL)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: address: %w", err)
	}
	outside := config
	outside.Database = "default"
	server, err := clickhousego.Open(outside.options(base))
	if err != nil {
		return nil, fmt.Errorf("clickhouse: open: %w", err)
	}
	name := "`" + strings.ReplaceAll(config.Database, "`", "") + "`"
	if err := errors.Join(server.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+name), server.Close()); err != nil {
		return nil, fmt.Errorf("create database: %w", err)
	}

	db := clickhousego.OpenDB(config.options(base))
	defer func() { err = errors.Join(err, db.Close()) }()
	provider, err := goose.NewProvider(goose.DialectClickHouse, db, migrations)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	is, known, err := provider.GetVersions(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the schema's version: %w", err)
	}
	if is > known {
		return nil, fmt.Errorf("%w: it is at %d, and this release knows %d", ErrNewerSchema, is, known)
	}
	results, err := provider.Up(ctx)
	for _, result := range results {
		applied = append(applied, result.Source.Version)
	}
	if err != nil {
		return applied, fmt.Errorf("migrate: %w", err)
	}
	return applied, nil
}

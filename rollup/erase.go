package rollup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/google/uuid"

	"agentmeter/internal/clickhouse"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

// selectErased lists the workspaces that were erased.
const selectErased = `SELECT DISTINCT workspace FROM usage_erasures`

// erasedWorkspaces are those of which nothing is to be kept. What is appended
// does not depend on it: the engine itself leaves them out (append_block.sql).
func erasedWorkspaces(ctx context.Context, client *clickhouse.Client) (map[schemas.WorkspaceID]bool, error) {
	erased := make(map[schemas.WorkspaceID]bool)
	err := client.SelectText(ctx, clickhouse.Statement{SQL: selectErased}, func(fields []string) error {
		erased[schemas.WorkspaceID(fields[0])] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read which workspaces were erased: %w", err)
	}
	return erased, nil
}

var eraseSQL = func() *template.Template {
	text, err := sqlFiles.ReadFile("sql/erase.sql")
	if err != nil {
		panic(err) // embedded
	}
	return template.Must(template.New("erase").Parse(string(text)))
}()

func eraseStatement(name, table string) string {
	var text bytes.Buffer
	if err := eraseSQL.ExecuteTemplate(&text, name, table); err != nil {
		panic(err) // both are our own
	}
	return strings.TrimSpace(text.String())
}

// eraseSettings make a statement end when its mutation has, everywhere.
var eraseSettings = map[string]string{"mutations_sync": "2", "async_insert": "0"}

// Remains are what ClickHouse has of a workspace.
type Remains struct {
	// Begun is whether it is among the erased ones already, so that nothing is
	// counted of it any more.
	Begun bool
	// Tables are those that have rows of it, with how many.
	Tables map[string]int64
	// Credits are what the ledger says that it spent.
	Credits schemas.CreditsSum
}

// ErasableTables are the tables that may have rows of a workspace.
func ErasableTables() []string {
	names := []string{tables.Ledger}
	for _, rollup := range tables.Rollups {
		names = append(names, rollup.Table)
	}
	return append(names, tables.IDs, tables.DirectoryWorkspaces, tables.DirectoryAgents, tables.DirectoryMembers)
}

// LookAtWorkspace says what there is of a workspace, and changes nothing. Of the
// id look-up it knows only what an erasure has left there.
func LookAtWorkspace(ctx context.Context, client *clickhouse.Client, workspace schemas.WorkspaceID) (*Remains, error) {
	erased, err := erasedWorkspaces(ctx, client)
	if err != nil {
		return nil, err
	}
	r := &Remains{Begun: erased[workspace], Tables: make(map[string]int64)}
	e := &eraser{client: client, params: map[string]string{"workspace": string(workspace)}}
	for _, table := range ErasableTables() {
		n, err := e.remaining(ctx, table)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			r.Tables[table] = n
		}
	}
	err = client.SelectText(ctx, clickhouse.Statement{SQL: eraseStatement("spent", ""), Params: e.params}, func(fields []string) error {
		spent, ok := new(big.Int).SetString(fields[0], 10)
		if !ok {
			return fmt.Errorf("%q is no number", fields[0])
		}
		r.Credits = schemas.SumFromBig(spent)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what was spent: %w", err)
	}
	return r, nil
}

// EraseWorkspace removes what ClickHouse has of a workspace, for good: its
// figures, ids and directory; and of its events in the ledger all but their
// offsets, so that what is left is an unbroken run that audits as exact.
//
// First the workspace is put among the erased ones. From then on the statement
// that appends a block blanks its events, so that none comes back: not a late
// one, nor a copy, nor one that is read from Kafka again after the ledger was
// set back. Then each partition's mutex is taken once, after which no statement
// runs that began before. Only then is removed what is there. Who had it in a
// rollup by a repair that began in between is waited for and removed as well:
// it ends when a look under every mutex finds nothing.
//
// It is safe beside running rollups, safe to cut off anywhere, and to run again.
func EraseWorkspace(ctx context.Context, client *clickhouse.Client, workspace schemas.WorkspaceID, progress func(string)) error {
	e := &eraser{client: client, params: map[string]string{"workspace": string(workspace)}, progress: progress}
	if err := e.run(ctx, eraseStatement("begin", ""), e.params); err != nil {
		return fmt.Errorf("put %s among the erased workspaces: %w", workspace, err)
	}
	e.progress("nothing is counted of it from here on")
	for range maxErasePasses {
		if err := e.barrier(ctx); err != nil {
			return err
		}
		removed := int64(0)
		for _, table := range ErasableTables() {
			n, err := e.remove(ctx, table)
			if err != nil {
				return err
			}
			removed += n
			if table == tables.Ledger && n > 0 { // a repair may have begun by what it had
				if err := e.barrier(ctx); err != nil {
					return err
				}
			}
		}
		if removed == 0 {
			return nil
		}
	}
	return errors.New("rows of the workspace keep coming back: does a rollup of an older release run, or a repair? Run it again when it does not")
}

// maxErasePasses bounds how often repairs may get in between.
const maxErasePasses = 10

type eraser struct {
	client   *clickhouse.Client
	params   map[string]string
	progress func(string)
}

func (e *eraser) run(ctx context.Context, sql string, params map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, rebuildTimeout)
	defer cancel()
	return e.client.Exec(ctx, clickhouse.Statement{SQL: sql, Params: params, Settings: eraseSettings})
}

// barrier returns once every statement has ended that ran under a partition's
// mutex when it was called.
func (e *eraser) barrier(ctx context.Context) error {
	parts, err := rebuildParts(ctx, e.client, []string{tables.Ledger})
	if err != nil {
		return err
	}
	for _, part := range parts {
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, rebuildTimeout)
			defer cancel()
			return e.client.Exec(ctx, clickhouse.Statement{SQL: "SELECT 1", Mutex: Mutex(e.client.Database(), part.Stream, part.Partition)})
		}()
		if err != nil {
			return fmt.Errorf("wait for partition %d of stream %s: %w", part.Partition, part.Stream, err)
		}
	}
	return nil
}

// remaining is how many rows of the workspace a table has.
func (e *eraser) remaining(ctx context.Context, table string) (n int64, err error) {
	if table == tables.IDs {
		err = e.strandedIDs(ctx, func(_ uuid.UUID, _ string, ids int64) error {
			n += ids
			return nil
		})
		return n, err
	}
	if n, err = countOf(ctx, e.client, clickhouse.Statement{SQL: eraseStatement("remaining", table), Params: e.params}); err != nil {
		return 0, fmt.Errorf("look at %s: %w", table, err)
	}
	return n, nil
}

// strandedIDs yields, by partition, how many ids are looked up whose events are
// erased.
func (e *eraser) strandedIDs(ctx context.Context, yield func(stream uuid.UUID, partition string, ids int64) error) error {
	err := e.client.SelectText(ctx, clickhouse.Statement{SQL: eraseStatement("ids", "")}, func(fields []string) error {
		stream, err := uuid.Parse(fields[0])
		if err != nil {
			return err
		}
		ids, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return err
		}
		return yield(stream, fields[1], ids)
	})
	if err != nil {
		return fmt.Errorf("look at %s: %w", tables.IDs, err)
	}
	return nil
}

// remove takes the workspace out of a table and returns how many rows of it
// there were.
func (e *eraser) remove(ctx context.Context, table string) (int64, error) {
	n, err := e.remaining(ctx, table)
	if err != nil || n == 0 {
		return 0, err
	}
	began := time.Now()
	switch table {
	case tables.Ledger:
		err = e.run(ctx, eraseStatement("blank", ""), e.params)
	case tables.IDs:
		var places []map[string]string
		err = e.strandedIDs(ctx, func(stream uuid.UUID, partition string, _ int64) error {
			places = append(places, map[string]string{"stream": stream.String(), "partition": partition})
			return nil
		})
		for _, place := range places {
			if err == nil {
				err = e.run(ctx, eraseStatement("remove_ids", ""), place)
			}
		}
	default:
		err = e.run(ctx, eraseStatement("remove", table), e.params)
	}
	if err != nil {
		return 0, fmt.Errorf("erase from %s: %w", table, err)
	}
	e.progress(fmt.Sprintf("%s: %d rows in %s", table, n, time.Since(began).Round(time.Millisecond)))
	return n, nil
}

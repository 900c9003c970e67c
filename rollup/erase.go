package rollup

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"agentmeter/internal/clickhouse"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

var (
	eraseSQL       = parseSQL("erase.sql")
	selectErased   = renderSQL(eraseSQL, "erased", nil)
	selectErasures = renderSQL(eraseSQL, "erasures", nil)
)

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

// Erased is a workspace that was erased.
type Erased struct {
	Workspace schemas.WorkspaceID
	At        string // when it was begun, in UTC
}

// ErasedWorkspaces lists the workspaces that were erased.
func ErasedWorkspaces(ctx context.Context, client *clickhouse.Client) ([]Erased, error) {
	var all []Erased
	err := client.SelectText(ctx, clickhouse.Statement{SQL: selectErasures}, func(fields []string) error {
		all = append(all, Erased{schemas.WorkspaceID(fields[0]), strings.Clone(fields[1])})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read which workspaces were erased: %w", err)
	}
	return all, nil
}

// workspaceParams bind workspaces as erase.sql names them.
func workspaceParams(workspaces []schemas.WorkspaceID) map[string]string {
	digits := make([]string, len(workspaces))
	for i, workspace := range workspaces {
		digits[i] = fmt.Sprintf("'%x'", string(workspace))
	}
	return map[string]string{"workspaces": "[" + strings.Join(digits, ",") + "]"}
}

// erasing is what the texts of an erasure's statements are made of.
type erasing struct {
	Table     string
	Stretches []erasedStretch
}

func (of erasing) statement(name string) string { return renderSQL(eraseSQL, name, of) }

// eraseSettings make a statement end when its mutation has, everywhere.
var eraseSettings = map[string]string{"mutations_sync": "2", "async_insert": "0"}

// Remains are what ClickHouse has of some workspaces.
type Remains struct {
	// Begun are those that are among the erased ones already, so that nothing is
	// counted of them any more.
	Begun map[schemas.WorkspaceID]bool
	// Tables are those that have rows of them, with how many.
	Tables map[string]int64
	// Credits are what the ledger says that they spent.
	Credits schemas.CreditsSum
}

// ErasableTables are the tables that may have rows of a workspace.
func ErasableTables() []string {
	names := append([]string{tables.Ledger}, RebuildTables()...)
	return append(names, tables.DirectoryWorkspaces, tables.DirectoryAgents, tables.DirectoryMembers)
}

// LookAtWorkspaces says what there is of some workspaces, and changes nothing. Of
// the id look-up it knows only what erasures have left there.
func LookAtWorkspaces(ctx context.Context, client *clickhouse.Client, workspaces []schemas.WorkspaceID) (*Remains, error) {
	erased, err := erasedWorkspaces(ctx, client)
	if err != nil {
		return nil, err
	}
	r := &Remains{Begun: make(map[schemas.WorkspaceID]bool), Tables: make(map[string]int64)}
	for _, workspace := range workspaces {
		if erased[workspace] {
			r.Begun[workspace] = true
		}
	}
	e := newEraser(client, workspaces)
	for _, table := range ErasableTables() {
		n, err := e.remaining(ctx, table)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			r.Tables[table] = n
		}
	}
	err = client.SelectText(ctx, clickhouse.Statement{SQL: erasing{}.statement("spent"), Params: workspaceParams(workspaces)}, func(fields []string) error {
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

// KnowsWorkspace reports whether ClickHouse has anything of a workspace, or had
// before it was erased.
func KnowsWorkspace(ctx context.Context, client *clickhouse.Client, workspace schemas.WorkspaceID) (bool, error) {
	erased, err := erasedWorkspaces(ctx, client)
	if err != nil || erased[workspace] {
		return erased[workspace], err
	}
	e := newEraser(client, []schemas.WorkspaceID{workspace})
	for _, table := range slices.Backward(ErasableTables()) { // the ledger, which takes longest, last
		if table == tables.IDs {
			continue // which does not tell whose they are
		}
		if n, err := e.remaining(ctx, table); err != nil || n > 0 {
			return n > 0, err
		}
	}
	return false, nil
}

// EraseWorkspaces removes what ClickHouse has of some workspaces, for good: their
// figures, ids and directory; and of their events in the ledger all but their
// offsets, so that what is left is an unbroken run that audits as exact.
//
// First the workspaces are put among the erased ones. From then on the statement
// that appends a block blanks their events, so that none comes back: not a late
// one, nor a copy, nor one that is read from Kafka again after the ledger was
// set back. Then each partition's mutex is taken once, after which no statement
// runs that began before. Only then is removed what is there. Who had it in a
// rollup by a repair that began in between is waited for and removed as well:
// it ends when a look under every mutex finds nothing.
//
// It is safe beside running rollups, safe to cut off anywhere, and to run again.
func EraseWorkspaces(ctx context.Context, client *clickhouse.Client, workspaces []schemas.WorkspaceID, progress func(string)) error {
	e := newEraser(client, workspaces)
	e.progress = progress
	return e.erase(ctx)
}

func (e *eraser) erase(ctx context.Context) error {
	if err := e.run(ctx, erasing{}.statement("begin")); err != nil {
		return fmt.Errorf("put them among the erased workspaces: %w", err)
	}
	e.progress("nothing is counted from here on of what is erased")
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
	return errors.New("rows keep coming back: does a rollup of an older release run, or a repair? Run it again when it does not")
}

// maxErasePasses bounds how often repairs may get in between.
const maxErasePasses = 10

type eraser struct {
	client     *clickhouse.Client
	workspaces []schemas.WorkspaceID
	progress   func(string)
	bounds     eraseBounds
}

// eraseBounds are what the removal of ids keeps in memory. Tests make them small.
type eraseBounds struct {
	// slot is how many offsets are compared at a time, to find where there are
	// ids to remove.
	slot int64
	// offsets is about how many erased offsets, and stretches how many runs of
	// them, one statement holds: as bitmaps, at most two bytes each.
	offsets   int64
	stretches int
}

var defaultEraseBounds = eraseBounds{slot: 1 << 18, offsets: 1 << 24, stretches: 200}

func newEraser(client *clickhouse.Client, workspaces []schemas.WorkspaceID) *eraser {
	return &eraser{client: client, workspaces: workspaces, bounds: defaultEraseBounds}
}

// eraseTimeout is when a mutation's outcome counts as unknown. It rewrites
// whatever parts have rows of the workspaces, which may be all of a ledger.
const eraseTimeout = 24 * time.Hour

func (e *eraser) run(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, eraseTimeout)
	defer cancel()
	return e.client.Exec(ctx, clickhouse.Statement{SQL: sql, Params: workspaceParams(e.workspaces), Settings: eraseSettings})
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
			return e.client.Exec(ctx, clickhouse.Statement{SQL: "SELECT 1", Mutex: clickhouse.Place{Stream: part.Stream, Partition: part.Partition}.Mutex(e.client.Database())})
		}()
		if err != nil {
			return fmt.Errorf("wait for partition %d of stream %s: %w", part.Partition, part.Stream, err)
		}
	}
	return nil
}

// remaining is how many rows of the workspaces a table has.
func (e *eraser) remaining(ctx context.Context, table string) (n int64, err error) {
	if table != tables.IDs {
		return e.count(ctx, table, erasing{Table: table}.statement("remaining"))
	}
	batches, err := e.suspectIDs(ctx)
	if err != nil {
		return 0, err
	}
	for _, batch := range batches {
		stranded, err := e.count(ctx, table, batch.statement("ids"))
		if err != nil {
			return 0, err
		}
		n += stranded
	}
	return n, nil
}

func (e *eraser) count(ctx context.Context, table, sql string) (int64, error) {
	n, err := countOf(ctx, e.client, clickhouse.Statement{SQL: sql, Params: workspaceParams(e.workspaces)})
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", table, err)
	}
	return n, nil
}

// erasedStretch is a run of a partition's offsets, both ends included, with how
// many of its events are erased.
type erasedStretch struct {
	Stream        uuid.UUID
	Partition     int64
	From, Through int64
	erased        int64
}

// suspectIDs finds where there may be ids whose events are erased, whichever
// erasure has left them: where the look-up has other offsets than the ledger
// says. It is cut into what one statement may hold; where earlier
// erasures have ended, it is nothing.
func (e *eraser) suspectIDs(ctx context.Context) ([]erasing, error) {
	var batches []erasing
	held := int64(0) // by the last batch
	slots := clickhouse.Statement{SQL: erasing{}.statement("slots"), Params: map[string]string{"slot": strconv.FormatInt(e.bounds.slot, 10)}}
	err := e.client.SelectText(ctx, slots, func(fields []string) error {
		stream, err := uuid.Parse(fields[0])
		if err != nil {
			return err
		}
		n, err := integersOf(fields[1:])
		if err != nil {
			return err
		}
		s := erasedStretch{stream, n[0], n[1] * e.bounds.slot, (n[1]+1)*e.bounds.slot - 1, n[2]}
		if len(batches) == 0 || held+s.erased > e.bounds.offsets {
			batches, held = append(batches, erasing{}), 0
		}
		held += s.erased
		batch := &batches[len(batches)-1]
		if last := len(batch.Stretches) - 1; last >= 0 && batch.Stretches[last].joins(s) {
			batch.Stretches[last].Through = s.Through
			batch.Stretches[last].erased += s.erased
			return nil
		}
		if len(batch.Stretches) == e.bounds.stretches {
			batches, held = append(batches, erasing{}), s.erased
			batch = &batches[len(batches)-1]
		}
		batch.Stretches = append(batch.Stretches, s)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", tables.IDs, err)
	}
	return batches, nil
}

func (s erasedStretch) joins(next erasedStretch) bool {
	return s.Stream == next.Stream && s.Partition == next.Partition && s.Through+1 == next.From
}

// remove takes the workspaces out of a table and returns how many rows of them
// there were.
func (e *eraser) remove(ctx context.Context, table string) (n int64, err error) {
	began := time.Now()
	switch table {
	case tables.IDs:
		n, err = e.removeIDs(ctx)
	case tables.Ledger:
		n, err = e.removeRows(ctx, table, "blank")
	default:
		n, err = e.removeRows(ctx, table, "remove")
	}
	if err == nil && n > 0 {
		e.progress(fmt.Sprintf("%s: %d rows in %s", table, n, time.Since(began).Round(time.Millisecond)))
	}
	return n, err
}

func (e *eraser) removeRows(ctx context.Context, table, how string) (int64, error) {
	n, err := e.remaining(ctx, table)
	if err != nil || n == 0 {
		return 0, err
	}
	if err := e.run(ctx, erasing{Table: table}.statement(how)); err != nil {
		return 0, fmt.Errorf("erase from %s: %w", table, err)
	}
	return n, nil
}

func (e *eraser) removeIDs(ctx context.Context) (removed int64, err error) {
	batches, err := e.suspectIDs(ctx)
	if err != nil {
		return 0, err
	}
	for _, batch := range batches {
		n, err := e.count(ctx, tables.IDs, batch.statement("ids"))
		if err != nil {
			return 0, err
		}
		if n == 0 {
			continue
		}
		if err := e.run(ctx, batch.statement("remove_ids")); err != nil {
			return 0, fmt.Errorf("erase from %s: %w", tables.IDs, err)
		}
		removed += n
	}
	return removed, nil
}

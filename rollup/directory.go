package rollup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	"agentmeter/internal/pause"
	"agentmeter/schemas"
	"agentmeter/schemas/usagev1"
)

// directoryPartition stores the changes of one partition of the directory
// topic in the directory's history. A change is stored under its topic's id
// and its offset, the first that it had where an erasure has written it again,
// so storing it again changes nothing. The partition is read from where the
// history of that very topic ends, or from where its log begins by now: a
// recreated one is read from its start.
type directoryPartition struct {
	log        *slog.Logger
	metrics    *metrics
	clickhouse *clickhouse.Client
	admin      *kadm.Client
	partition  int32
	consumer   []kgo.Opt

	skipped  int       // changes that were passed over
	skipSaid time.Time // when that was said last
}

var (
	directorySQL       = parseSQL("directory.sql")
	selectDirectoryEnd = renderSQL(directorySQL, "end", nil)
	insertWorkspaces   = renderSQL(directorySQL, "insert_workspaces", nil)
	insertAgents       = renderSQL(directorySQL, "insert_agents", nil)
	insertMembers      = renderSQL(directorySQL, "insert_members", nil)
)

// maxChanges is how many changes are stored at a time, and so how far before the
// history's end it may lack one: that many are read again at the start, which
// changes nothing. Read again must be what a batch may hold at least, or what a
// crash left out of one would never be stored.
const maxChanges = 10_000

func (d *directoryPartition) run(ctx context.Context) {
	wait := firstRetry
	for ctx.Err() == nil {
		progressed, err := d.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if progressed {
			wait = firstRetry
		}
		d.metrics.sessionErrors.Inc()
		d.log.WarnContext(ctx, "storing directory changes interrupted; trying again", "error", err, "wait", wait)
		pause.For(ctx, wait)
		wait = min(2*wait, maxRetry)
	}
}

func (d *directoryPartition) session(ctx context.Context) (progressed bool, err error) {
	live, err := kafka.DescribeStream(ctx, d.admin, kafka.TopicDirectory)
	if err != nil {
		return false, err
	}
	next, err := d.end(ctx, live.ID)
	if err != nil {
		return false, err
	}
	starts, err := kafka.LogStarts(ctx, d.admin, kafka.TopicDirectory)
	if err != nil {
		return false, err
	}
	start := kgo.NewOffset().At(max(next, starts[d.partition]))
	consumer, err := kgo.NewClient(append(d.consumer,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{kafka.TopicDirectory: {d.partition: start}}))...)
	if err != nil {
		return false, fmt.Errorf("consume: %w", err)
	}
	defer consumer.Close()
	for {
		fetches := consumer.PollRecords(ctx, maxChanges)
		if ctx.Err() != nil {
			return progressed, context.Cause(ctx)
		}
		if err := fetches.Err(); err != nil {
			return progressed, fmt.Errorf("fetch: %w", err)
		}
		if !progressed {
			// From here on the consumer knows the topic by its id.
			now, err := kafka.DescribeStream(ctx, d.admin, kafka.TopicDirectory)
			if err != nil {
				return false, err
			}
			if now.ID != live.ID {
				return false, errors.New("the directory topic was recreated; reading it from its start")
			}
		}
		if err := d.store(ctx, live.ID, fetches.Records()); err != nil {
			return progressed, err
		}
		progressed = true
	}
}

// end is the first offset of the topic that may not be stored yet: the tables
// are written one after another, so a crash can leave the last change of a batch
// stored and its first ones not.
func (d *directoryPartition) end(ctx context.Context, stream uuid.UUID) (int64, error) {
	var next int64
	err := d.clickhouse.Conn().QueryRow(ctx, selectDirectoryEnd, stream).Scan(&next)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the directory's end: %w", err)
	}
	return max(0, next-maxChanges), nil
}

func (d *directoryPartition) store(ctx context.Context, stream uuid.UUID, records []*kgo.Record) error {
	erased, err := erasedWorkspaces(ctx, d.clickhouse)
	if err != nil {
		return err
	}
	var workspaces, agents, members []func(driver.Batch) error
	for _, record := range records {
		if len(record.Value) == 0 {
			continue // it stands where an erased workspace's last change was
		}
		var change usagev1.DirectoryChange
		var problem string
		if err := change.UnmarshalVT(record.Value); err != nil {
			problem = err.Error()
		} else {
			problem = schemas.DirectoryProblem(&change)
		}
		if problem != "" {
			// Ingest sends no such; nothing is counted by it.
			d.skip(ctx, record.Offset, problem)
			continue
		}
		if erased[schemas.WorkspaceID(change.WorkspaceId)] {
			continue
		}
		ws, from := change.WorkspaceId, time.UnixMicro(change.ChangedAtUs).UTC()
		offset, _ := kafka.Origin(record)
		switch of := change.Change.(type) {
		case *usagev1.DirectoryChange_Workspace:
			w := of.Workspace
			anchor := time.Unix(0, 0).UTC()
			if w.BillingAnchor != "" {
				anchor, _ = time.Parse(time.DateOnly, w.BillingAnchor) // it was checked
			}
			links := w.Links
			if links == nil {
				links = map[string]string{}
			}
			workspaces = append(workspaces, func(b driver.Batch) error {
				return b.Append(ws, from, w.Name, w.Timezone, anchor, w.AgentSlots, w.Seats, links, w.SupportEmail, w.ProductName, offset, stream)
			})
		case *usagev1.DirectoryChange_Agent:
			agents = append(agents, func(b driver.Batch) error {
				return b.Append(ws, of.Agent.AgentId, from, of.Agent.Name, of.Agent.Deleted, offset, stream)
			})
		case *usagev1.DirectoryChange_Member:
			members = append(members, func(b driver.Batch) error {
				return b.Append(ws, of.Member.MemberId, from, of.Member.Name, of.Member.Deleted, offset, stream)
			})
		}
	}
	err = errors.Join(
		d.insert(ctx, insertWorkspaces, workspaces),
		d.insert(ctx, insertAgents, agents),
		d.insert(ctx, insertMembers, members),
	)
	if err != nil {
		return err
	}
	d.metrics.directory.Add(float64(len(workspaces) + len(agents) + len(members)))
	return nil
}

// skipInterval is how often it is said that changes are passed over.
const skipInterval = 10 * time.Second

// skip passes over a change that is none, and says so now and then.
func (d *directoryPartition) skip(ctx context.Context, offset int64, problem string) {
	d.skipped++
	if now := time.Now(); now.Sub(d.skipSaid) >= skipInterval {
		d.log.ErrorContext(ctx, "directory change passed over; is the rollup older than ingest, or does something else write the topic?",
			"offset", offset, "problem", problem, "passed_over", d.skipped)
		d.skipSaid = now
	}
}

func (d *directoryPartition) insert(ctx context.Context, statement string, rows []func(driver.Batch) error) error {
	if len(rows) == 0 {
		return nil
	}
	batch, err := d.clickhouse.Conn().PrepareBatch(ctx, statement)
	if err != nil {
		return fmt.Errorf("store directory changes: %w", err)
	}
	for _, row := range rows {
		if err := row(batch); err != nil {
			return errors.Join(fmt.Errorf("store directory changes: %w", err), batch.Abort())
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("store directory changes: %w", err)
	}
	return nil
}

// DirectoryChangesOf says which records of the directory topic are changes of
// one of the workspaces.
func DirectoryChangesOf(workspaces map[schemas.WorkspaceID]bool) func(*kgo.Record) bool {
	return func(record *kgo.Record) bool {
		var change usagev1.DirectoryChange
		return change.UnmarshalVT(record.Value) == nil && workspaces[schemas.WorkspaceID(change.WorkspaceId)]
	}
}

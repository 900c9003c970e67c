package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"agentmeter/internal/deadletters"
	"agentmeter/internal/kafka"
	"agentmeter/rollup"
	"agentmeter/schemas"
)

type eraseCommand struct {
	pipelineFlags
	Workspace string `help:"Workspace to erase." required:"" placeholder:"WS"`
	Yes       bool   `help:"Erase it. It cannot be undone, and nothing will ever be counted of it again."`
	logFlags
}

func (*eraseCommand) Help() string {
	return example("agentmeter erase --data-dir data --workspace ws_acme\nagentmeter erase --data-dir data --workspace ws_acme --yes").
		help("Removes a workspace for good: its figures, ids, directory and dead letters; in the ledger each of its events keeps its offset and nothing else, so that the audit stays exact. From then on nothing is counted of it, whoever sends it and however late. Without --yes it only says what there is. Works beside a running instance and on a stopped data directory. Safe to cut off and to run again. Exit status: 0 nothing is left of it, 1 something is there and was not erased, 2 misuse, or not finished. See docs/operations/erasure.md.")
}

func (c *eraseCommand) Run(ctx context.Context, s streams) error {
	workspace := schemas.WorkspaceID(c.Workspace)
	if fault := schemas.ValidateID("workspace_id", c.Workspace); fault != nil || workspace == "*" {
		return misuse("--workspace: %q is no workspace's id", c.Workspace)
	}
	log := c.logger(s.err)
	p, err := c.open(ctx, "erase", log)
	if err != nil {
		return &exitError{exitUnclear, err}
	}
	defer p.close()
	if p.clickhouse.Sharded() {
		return &exitError{exitUnclear, errors.New("a workspace cannot be erased from a cluster yet: docs/operations/cluster.md says why, and what to do; nothing was changed")}
	}
	if c.Yes {
		if err := erase(ctx, s.err, log, p, workspace); err != nil {
			return &exitError{exitUnclear, fmt.Errorf("not finished; run it again to go on: %w", err)}
		}
		_, err := fmt.Fprintf(s.out, "%s is erased. What docs/operations/erasure.md lists beside is yours to do: backups, tokens, Kafka's own files.\n", workspace)
		return err
	}
	left, err := printRemains(ctx, s.out, log, p, workspace)
	switch {
	case err != nil:
		return &exitError{exitUnclear, err}
	case left:
		return &exitError{code: exitNo}
	default:
		return nil
	}
}

// erasableTopics are the topics that can lose a workspace's records, and which of
// them those are.
func erasableTopics(workspace schemas.WorkspaceID) map[string]kafka.Drop {
	return map[string]kafka.Drop{
		kafka.TopicDirectory:  rollup.DirectoryChangesOf(workspace),
		kafka.TopicDeadLetter: deadletters.Of(workspace),
	}
}

func erase(ctx context.Context, progress io.Writer, log *slog.Logger, p *pipeline, workspace schemas.WorkspaceID) error {
	err := rollup.EraseWorkspaces(ctx, p.clickhouse, []schemas.WorkspaceID{workspace}, func(done string) { fmt.Fprintln(progress, done) })
	if err != nil {
		return err
	}
	for topic, of := range erasableTopics(workspace) {
		// Again until there is none: what another erasure keeps it writes again at
		// the end, where this one did not look.
		for tries := 0; ; tries++ {
			pruned, err := kafka.Prune(ctx, p.kafka.Options(log), topic, of)
			if err != nil {
				return err
			}
			if pruned.Dropped == 0 {
				break
			}
			if tries == maxPrunes {
				return fmt.Errorf("records of the workspace keep coming to %s: does another erasure run, or a client that writes?", topic)
			}
			fmt.Fprintf(progress, "%s: %d records\n", topic, pruned.Dropped)
		}
	}
	return nil
}

// maxPrunes bounds how often others may get in between.
const maxPrunes = 10

// printRemains says what there is of a workspace.
func printRemains(ctx context.Context, w io.Writer, log *slog.Logger, p *pipeline, workspace schemas.WorkspaceID) (left bool, err error) {
	remains, err := rollup.LookAtWorkspaces(ctx, p.clickhouse, []schemas.WorkspaceID{workspace})
	if err != nil {
		return false, err
	}
	left = len(remains.Tables) > 0
	if remains.Begun[workspace] {
		fmt.Fprintf(w, "%s was erased: nothing is counted of it any more.\n", workspace)
	} else {
		fmt.Fprintf(w, "%s was not erased. The ledger says that it used %s credits.\n", workspace, remains.Credits)
	}
	for _, table := range rollup.ErasableTables() {
		if n := remains.Tables[table]; n > 0 {
			fmt.Fprintf(w, "  %s: %d rows\n", table, n)
		}
	}
	for topic, of := range erasableTopics(workspace) {
		found, err := kafka.Find(ctx, p.kafka.Options(log), topic, of)
		if err != nil {
			return left, err
		}
		if found.Dropped > 0 {
			left = true
			fmt.Fprintf(w, "  %s: %d records, and %d of others are written again\n", topic, found.Dropped, found.Kept)
		}
	}
	if left {
		fmt.Fprintf(w, "Nothing was changed. To erase it for good: agentmeter erase --workspace %s --yes\n", workspace)
	} else {
		fmt.Fprintln(w, "There is nothing of it.")
	}
	return left, nil
}

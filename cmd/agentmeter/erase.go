package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"agentmeter/internal/deadletters"
	"agentmeter/internal/kafka"
	"agentmeter/rollup"
	"agentmeter/schemas"
)

// eraseCommand cannot be undone. So what confirms it is no setting: an
// environment, which says the same to each command that is run in it, cannot.
type eraseCommand struct {
	pipelineFlags
	Workspace string `help:"Workspace to erase." placeholder:"WS"`
	Again     bool   `help:"Erase whatever was erased before: what came back since, or lay where it was not reached. Without --yes the list of what was erased is printed, to be kept where no restore reaches it."`
	List      string `help:"File with workspaces to erase, one a line, as --again prints them: for a list that was kept while ClickHouse was restored." placeholder:"FILE" type:"path"`
	Unknown   bool   `env:"-" help:"Erase a workspace of which nothing is known, so that nothing will ever be counted of it."`
	Yes       bool   `env:"-" help:"Erase it. It cannot be undone, and nothing will ever be counted of it again."`
	logFlags

	workspaces []schemas.WorkspaceID // as check read them
}

func (*eraseCommand) Help() string {
	return example("agentmeter erase --data-dir data --workspace ws_acme\nagentmeter erase --data-dir data --workspace ws_acme --yes\nagentmeter erase --data-dir data --again > erased.tsv\nagentmeter erase --data-dir data --list erased.tsv --yes").
		help("Removes a workspace for good: its figures, ids, directory and dead letters; in the ledger each of its events keeps its offset and nothing else, so that the audit stays exact. From then on nothing is counted of it, whoever sends it and however late. Without --yes, which no environment variable gives, it only says what there is. Works beside a running instance and on a stopped data directory. Safe to cut off and to run again. Exit status: 0 nothing is left of it, 1 something is there and was not erased, 2 misuse, or not finished. See docs/operations/erasure.md.")
}

func (c *eraseCommand) check() (err error) {
	c.workspaces, err = c.readWorkspaces()
	return errors.Join(c.pipelineFlags.check(), err)
}

func (c *eraseCommand) Run(ctx context.Context, s streams) error {
	log := c.logger(s.err)
	p, err := c.open(ctx, "erase", log)
	if err != nil {
		return &exitError{exitUnclear, err}
	}
	defer p.close()
	if p.clickhouse.Sharded() {
		return &exitError{exitUnclear, errors.New("a workspace cannot be erased from a cluster yet: docs/operations/cluster.md says why, and what to do; nothing was changed")}
	}
	workspaces := c.workspaces
	e := &erasure{pipeline: p, log: log, streams: s, remains: s.out}
	if c.Again {
		erased, err := rollup.ErasedWorkspaces(ctx, p.clickhouse)
		if err != nil {
			return &exitError{exitUnclear, err}
		}
		for _, one := range erased {
			workspaces = append(workspaces, one.Workspace)
			if !c.Yes {
				fmt.Fprintf(s.out, "%s\t%s\n", escapeTSV.Replace(string(one.Workspace)), one.At)
			}
		}
		e.remains = s.err // since the list is for a file
	}
	if c.Workspace != "" && c.Yes && !c.Unknown {
		if err := e.mustKnow(ctx, workspaces[0]); err != nil {
			return err
		}
	}
	left := false
	for some := range slices.Chunk(workspaces, maxErasedAtOnce) {
		if c.Yes {
			if err := e.erase(ctx, some); err != nil {
				return &exitError{exitUnclear, fmt.Errorf("not finished; run it again to go on: %w", err)}
			}
			continue
		}
		someLeft, err := e.look(ctx, some)
		if err != nil {
			return &exitError{exitUnclear, err}
		}
		left = left || someLeft
	}
	switch {
	case left:
		fmt.Fprintf(e.remains, "Nothing was changed. To erase it for good, add --yes to the same command.\n")
		return &exitError{code: exitNo}
	case c.Yes:
		what := fmt.Sprintf("%d workspaces are", len(workspaces))
		if len(workspaces) == 1 {
			what = string(workspaces[0]) + " is"
		}
		_, err := fmt.Fprintf(s.out, "%s erased. What docs/operations/erasure.md lists beside is yours to do: backups, tokens, Kafka's own files.\n", what)
		return err
	}
	return nil
}

// maxErasedAtOnce keeps statements, which name each workspace, below what
// ClickHouse takes.
const maxErasedAtOnce = 200

// readWorkspaces returns those that the command line or its file names.
func (c *eraseCommand) readWorkspaces() ([]schemas.WorkspaceID, error) {
	given := 0
	for _, is := range []bool{c.Workspace != "", c.Again, c.List != ""} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, errors.New("give one of --workspace, --again and --list")
	case c.Workspace != "":
		return []schemas.WorkspaceID{schemas.WorkspaceID(c.Workspace)}, isWorkspaceID("--workspace", c.Workspace)
	case c.Again:
		return nil, nil
	}
	content, err := os.ReadFile(c.List)
	if err != nil {
		return nil, named("--list", err)
	}
	var workspaces []schemas.WorkspaceID
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		id, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "\t")
		if id = unescapeTSV.Replace(id); id == "" {
			continue
		}
		if err := isWorkspaceID(fmt.Sprintf("--list: line %d", number), id); err != nil {
			return nil, err
		}
		workspaces = append(workspaces, schemas.WorkspaceID(id))
	}
	return workspaces, nil
}

// The list is as ClickHouse writes it as TSV. Ids have no control characters.
var (
	escapeTSV   = strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	unescapeTSV = strings.NewReplacer(`\\`, `\`, `\'`, `'`)
)

// erasableTopics are the topics that can lose records of workspaces, and which
// those are.
func erasableTopics(workspaces []schemas.WorkspaceID) map[string]kafka.Drop {
	set := make(map[schemas.WorkspaceID]bool, len(workspaces))
	for _, workspace := range workspaces {
		set[workspace] = true
	}
	return map[string]kafka.Drop{
		kafka.TopicDirectory:  rollup.DirectoryChangesOf(set),
		kafka.TopicDeadLetter: deadletters.Of(set),
	}
}

// erasure is one run of the command.
type erasure struct {
	*pipeline
	log     *slog.Logger
	streams streams
	remains io.Writer // where a look says what there is
}

// mustKnow refuses a workspace of which there is no trace, as of a mistyped id:
// that it is erased could not be undone.
func (e *erasure) mustKnow(ctx context.Context, workspace schemas.WorkspaceID) error {
	known, err := rollup.KnowsWorkspace(ctx, e.clickhouse, workspace)
	for topic, of := range erasableTopics([]schemas.WorkspaceID{workspace}) {
		if err != nil || known {
			break
		}
		var found kafka.Pruned
		found, err = kafka.Find(ctx, e.kafka.Options(e.log), topic, of)
		known = found.Dropped > 0
	}
	switch {
	case err != nil:
		return &exitError{exitUnclear, err}
	case !known:
		return misuse("nothing is known of %s: nothing was counted of it, it is in no directory, and it was not erased before. Nothing was changed. Where its id is right, and it is erased again since ClickHouse lost what was known, add --unknown", workspace)
	}
	return nil
}

func (e *erasure) erase(ctx context.Context, workspaces []schemas.WorkspaceID) error {
	progress := e.streams.err
	fmt.Fprintln(progress, "every rollup has to be of a release that has erase: an older one goes on counting what is erased")
	err := rollup.EraseWorkspaces(ctx, e.clickhouse, workspaces, func(done string) { fmt.Fprintln(progress, done) })
	if err != nil {
		return err
	}
	for topic, of := range erasableTopics(workspaces) {
		// Again until there is none: what another erasure keeps it writes again at
		// the end, where this one did not look.
		for tries := 0; ; tries++ {
			pruned, err := kafka.Prune(ctx, e.kafka.Options(e.log), topic, of)
			if err != nil {
				return err
			}
			if pruned.Dropped == 0 {
				break
			}
			if tries == maxPrunes {
				return fmt.Errorf("records of what is erased keep coming to %s: does another erasure run, or a client that writes?", topic)
			}
			fmt.Fprintf(progress, "%s: %d records\n", topic, pruned.Dropped)
		}
	}
	return nil
}

// maxPrunes bounds how often others may get in between.
const maxPrunes = 10

// look says what there is of some workspaces.
func (e *erasure) look(ctx context.Context, workspaces []schemas.WorkspaceID) (left bool, err error) {
	remains, err := rollup.LookAtWorkspaces(ctx, e.clickhouse, workspaces)
	if err != nil {
		return false, err
	}
	w := e.remains
	left = len(remains.Tables) > 0
	begun := len(remains.Begun)
	switch {
	case len(workspaces) > 1:
		fmt.Fprintf(w, "%d workspaces, of which %d were erased, so that nothing is counted of them any more. The ledger says that they used %s credits.\n", len(workspaces), begun, remains.Credits)
	case begun == 1:
		fmt.Fprintf(w, "%s was erased: nothing is counted of it any more.\n", workspaces[0])
	default:
		fmt.Fprintf(w, "%s was not erased. The ledger says that it used %s credits.\n", workspaces[0], remains.Credits)
	}
	for _, table := range rollup.ErasableTables() {
		if n := remains.Tables[table]; n > 0 {
			fmt.Fprintf(w, "  %s: %d rows\n", table, n)
		}
	}
	for topic, of := range erasableTopics(workspaces) {
		found, err := kafka.Find(ctx, e.kafka.Options(e.log), topic, of)
		if err != nil {
			return left, err
		}
		if found.Dropped > 0 {
			left = true
			fmt.Fprintf(w, "  %s: %d records, and %d of others are written again\n", topic, found.Dropped, found.Kept)
		}
	}
	if !left {
		fmt.Fprintln(w, "There is nothing of it.")
	}
	return left, nil
}

package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/deadletters"
	"agentmeter/rollup"
	"agentmeter/schemas"
)

// deadletterCommand is about what could not be counted.
type deadletterCommand struct {
	List   deadletterListCommand   `cmd:"" help:"List what could not be counted, newest last."`
	Show   deadletterShowCommand   `cmd:"" help:"Show one dead letter whole."`
	Replay deadletterReplayCommand `cmd:"" help:"Put records back that can be counted now."`
}

func (*deadletterCommand) Help() string {
	return example("agentmeter deadletter list --data-dir data\nagentmeter deadletter show --data-dir data 3/4711\nagentmeter deadletter replay --data-dir data --code wrong_partition --yes").
		help("What could not be counted lies in the topic usage.deadletter.v1, with the reason. See docs/repairs.md.")
}

// letterFlags select dead letters.
type letterFlags struct {
	Code  []string `help:"Only letters with these codes, such as wrong_partition, undecodable or payload_conflict." placeholder:"CODE"`
	Since string   `help:"Only letters that were written since: a date, RFC 3339, or how long ago, such as 24h." placeholder:"TIME"`

	selection deadletters.Selection // as check read it
}

func (f *letterFlags) check(refs ...string) error {
	var faults []error
	known := schemas.DeadLetterCodes()
	for _, code := range f.Code {
		if !slices.Contains(known, code) {
			faults = append(faults, fmt.Errorf("--code: %q is none of %s", code, strings.Join(known, ", ")))
		}
	}
	var err error
	f.selection, err = f.readSelection(refs)
	return errors.Join(append(faults, err)...)
}

func (f *letterFlags) readSelection(refs []string) (s deadletters.Selection, err error) {
	s.Codes = f.Code
	if ago, err := time.ParseDuration(f.Since); err == nil {
		s.Since = time.Now().UTC().Add(-ago)
	} else if s.Since, err = parseTime("--since", f.Since); err != nil {
		return s, err
	}
	for _, text := range refs {
		ref, err := deadletters.ParseRef(text)
		if err != nil {
			return s, err
		}
		s.Refs = append(s.Refs, ref)
	}
	return s, nil
}

type deadletterListCommand struct {
	pipelineFlags
	letterFlags
	Limit  int   `help:"Letters at most, the newest of them." default:"50"`
	Before int64 `help:"Only letters before this position: the next page is --before the first one's." placeholder:"POSITION"`
	JSON   bool  `name:"json" help:"Print one JSON object a line."`
	logFlags
}

func (*deadletterListCommand) Help() string {
	return example("agentmeter deadletter list --data-dir data --code wrong_partition --since 24h").
		help("Lists what could not be counted, and why, newest last. Letters that were sent twice are one. Exit status: 0, also where there are none; 2 misuse, or they could not be read.")
}

// letterSummary is one line of the list.
type letterSummary struct {
	Position  int64     `json:"position"`
	Stream    string    `json:"stream"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Received  time.Time `json:"received"`
	Code      string    `json:"code"`
	Detail    string    `json:"detail,omitempty"`
	Bytes     int       `json:"bytes"`
	Workspace string    `json:"workspace_id,omitempty"`
	ID        string    `json:"id,omitempty"`
}

// detailOf is why a record was not counted, in words where its letter has none.
func detailOf(l *deadletters.Letter) string {
	if l.Detail == "" && l.Code == schemas.CodePayloadConflict {
		return "its id was recorded before, and that stays; the agent, time, channel, credits or messages are others here, or one of the two is an adjustment"
	}
	return l.Detail
}

func summaryOf(l *deadletters.Letter) letterSummary {
	s := letterSummary{
		Position: l.Position, Stream: l.Stream.String(), Partition: l.Partition, Offset: l.Offset,
		Received: l.Received, Code: l.Code, Detail: detailOf(l), Bytes: len(l.Value),
	}
	if event, err := l.Event(); err == nil {
		s.Workspace, s.ID = strings.Clone(string(event.Workspace)), strings.Clone(event.ID)
	} else if s.Detail == "" {
		s.Detail = err.Error()
	}
	return s
}

func (c *deadletterListCommand) check() error {
	return errors.Join(c.pipelineFlags.check(), c.letterFlags.check(), notBelow("--limit", c.Limit, 1), notBelow("--before", c.Before, 0))
}

func (c *deadletterListCommand) Run(ctx context.Context, s streams) error {
	selection := c.selection
	selection.Before = c.Before
	log := c.logger(s.err)
	p, err := c.open(ctx, "deadletter", log)
	if err != nil {
		return &exitError{exitUnclear, err}
	}
	defer p.close()
	var newest []letterSummary
	total := 0
	err = deadletters.Each(ctx, p.kafka.Options(log), selection, func(l *deadletters.Letter) error {
		if total++; len(newest) == c.Limit {
			newest = append(newest[:0], newest[1:]...)
		}
		newest = append(newest, summaryOf(l))
		return nil
	})
	if err == nil && c.JSON {
		encoder := json.NewEncoder(s.out)
		for i := range newest {
			if err = encoder.Encode(newest[i]); err != nil {
				break
			}
		}
	} else if err == nil {
		err = printLetters(s.out, newest, total)
	}
	if err != nil {
		return &exitError{exitUnclear, err}
	}
	return nil
}

func printLetters(w io.Writer, letters []letterSummary, total int) error {
	if total == 0 {
		_, err := fmt.Fprintln(w, "No dead letters.")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "position\trecord\treceived\tcode\tworkspace\tid\tdetail")
	for i := range letters {
		l := &letters[i]
		fmt.Fprintf(table, "%d\t%d/%d\t%s\t%s\t%s\t%s\t%s\n", l.Position, l.Partition, l.Offset, l.Received.Format(time.RFC3339),
			printable(l.Code), printable(l.Workspace), printable(l.ID), printable(l.Detail))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(letters) < total {
		_, err := fmt.Fprintf(w, "\n%d of %d; the ones before: --before %d\n", len(letters), total, letters[0].Position)
		return err
	}
	return nil
}

// printable is text that does nothing to a terminal: what is not plain is
// escaped and the whole quoted.
func printable(text string) string {
	quoted := strconv.Quote(text)
	if plain := quoted[1 : len(quoted)-1]; plain == text {
		return text
	}
	return quoted
}

type deadletterShowCommand struct {
	pipelineFlags
	Letter string `arg:"" help:"A position as in the list, or PARTITION/OFFSET of the record."`
	logFlags

	ref deadletters.Ref // as check read it
}

func (*deadletterShowCommand) Help() string {
	return example("agentmeter deadletter show --data-dir data 3/4711").
		help("Shows why a record was not counted and what is in it: its event where it decodes, its bytes otherwise; of a payload conflict also what was recorded under its id. Exit status: 0, 1 there is no such letter, 2 misuse, or it could not be read.")
}

func (c *deadletterShowCommand) check() (err error) {
	c.ref, err = deadletters.ParseRef(c.Letter)
	return errors.Join(c.pipelineFlags.check(), err)
}

func (c *deadletterShowCommand) Run(ctx context.Context, s streams) error {
	log := c.logger(s.err)
	p, err := c.open(ctx, "deadletter", log)
	if err != nil {
		return &exitError{exitUnclear, err}
	}
	defer p.close()
	letter, err := deadletters.Find(ctx, p.kafka.Options(log), c.ref)
	if err == nil {
		err = printLetter(s.out, letter)
	}
	if err == nil && letter.Code == schemas.CodePayloadConflict {
		err = printConflict(ctx, s.out, p.clickhouse, letter)
	}
	switch {
	case errors.Is(err, deadletters.ErrNotFound):
		return &exitError{exitNo, err}
	case err != nil:
		return &exitError{exitUnclear, err}
	}
	return nil
}

func printLetter(w io.Writer, l *deadletters.Letter) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, printable(value))
		}
	}
	line("position", strconv.FormatInt(l.Position, 10))
	line("record", fmt.Sprintf("offset %d of partition %d of stream %s", l.Offset, l.Partition, l.Stream))
	line("received", l.Received.Format(time.RFC3339Nano))
	line("code", l.Code)
	line("detail", detailOf(l))
	line("key", string(l.Key))
	line("bytes", strconv.Itoa(len(l.Value)))
	event, err := l.Event()
	if err == nil {
		printEvent(line, &event)
	} else {
		line("event", "none: "+err.Error())
	}
	if _, err := l.Record(); err != nil {
		line("replay", "refused: "+err.Error())
	} else {
		line("replay", "possible")
	}
	if err := table.Flush(); err != nil || event.ID != "" {
		return err
	}
	if utf8.Valid(l.Value) {
		_, err = fmt.Fprintf(w, "\n%s\n", strconv.Quote(string(l.Value)))
	} else {
		_, err = fmt.Fprintf(w, "\n%s\nbase64: %s\n", hex.Dump(l.Value), base64.StdEncoding.EncodeToString(l.Value))
	}
	return err
}

// printConflict prints what was recorded under the id of a letter, beside what the
// letter holds, as far as that is what tells copies of an event apart.
func printConflict(ctx context.Context, w io.Writer, client *clickhouse.Client, l *deadletters.Letter) error {
	sent, err := l.Event()
	if err != nil {
		return nil //nolint:nilerr // only its beginning is in the letter
	}
	found, err := rollup.FindEvent(ctx, client, sent.Workspace, sent.ID)
	if err != nil {
		return err
	}
	if found == nil {
		_, err = fmt.Fprintln(w, "\nNothing is recorded under its id now.")
		return err
	}
	recorded := &found.Event
	fmt.Fprintf(w, "\nUnder its id is recorded, as %s, offset %d of partition %d of stream %s:\n\n", found.Outcome, found.Offset, found.Partition, found.Stream)
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "\tsent\trecorded")
	line := func(name, sent, recorded string) {
		differs := ""
		if sent != recorded {
			differs = "\tdiffers"
		}
		fmt.Fprintf(table, "%s\t%s\t%s%s\n", name, printable(sent), printable(recorded), differs)
	}
	line("agent_id", string(sent.Agent), string(recorded.Agent))
	line("occurred_at", sent.OccurredAt.Format(time.RFC3339Nano), recorded.OccurredAt.Format(time.RFC3339Nano))
	line("channel", sent.Channel, recorded.Channel)
	if recorded.Playground() {
		fmt.Fprintf(table, "credits\t%s\tnot kept of Playground tests\n", sent.Credits)
	} else {
		line("credits", sent.Credits.String(), recorded.Credits.String())
	}
	line("messages", strconv.FormatInt(sent.Messages, 10), strconv.FormatInt(recorded.Messages, 10))
	line("adjustment", strconv.FormatBool(sent.Adjustment != nil), strconv.FormatBool(recorded.Adjustment != nil))
	return table.Flush()
}

func printEvent(line func(name, value string), e *schemas.Event) {
	line("workspace_id", string(e.Workspace))
	line("id", e.ID)
	line("agent_id", string(e.Agent))
	line("conversation_id", e.Conversation)
	line("occurred_at", e.OccurredAt.Format(time.RFC3339Nano))
	line("channel", e.Channel)
	line("model", e.Model)
	line("credits", e.Credits.String())
	line("messages", strconv.FormatInt(e.Messages, 10))
	if e.Adjustment != nil {
		line("reason", e.Adjustment.Reason)
		line("event_id", e.Adjustment.EventID)
	}
}

type deadletterReplayCommand struct {
	pipelineFlags
	letterFlags
	Letters []string `arg:"" optional:"" name:"letter" help:"Positions as in the list, or PARTITION/OFFSET of records."`
	All     bool     `help:"All letters that can be put back."`
	DryRun  bool     `help:"Only say what would be put back."`
	Yes     bool     `help:"Put back what --code, --since or --all selects; without it they are a dry run."`
	logFlags
}

func (*deadletterReplayCommand) Help() string {
	return example("agentmeter deadletter replay --data-dir data 3/4711\nagentmeter deadletter replay --data-dir data --code wrong_partition --yes").
		help("Puts records back on the events topic that can be counted now, under the key that their events ask for. Doing so twice counts nothing twice. Named letters are put back at once; a selection needs --yes. Exit status: 0 all of them, 1 some were refused (it says why), 2 misuse, or not finished.")
}

func (c *deadletterReplayCommand) check() error {
	faults := []error{c.pipelineFlags.check(), c.letterFlags.check(c.Letters...)}
	if len(c.Letters) == 0 && len(c.Code) == 0 && c.Since == "" && !c.All {
		faults = append(faults, errors.New("name letters, or select some by --code, --since or --all; agentmeter deadletter list shows them"))
	}
	return errors.Join(faults...)
}

func (c *deadletterReplayCommand) Run(ctx context.Context, s streams) error {
	dry := c.DryRun || len(c.Letters) == 0 && !c.Yes
	log := c.logger(s.err)
	p, err := c.open(ctx, "deadletter", log)
	if err != nil {
		return &exitError{exitUnclear, err}
	}
	defer p.close()
	done, refused := 0, 0
	said := "put back"
	if dry {
		said = "would be put back"
	}
	err = deadletters.Replay(ctx, p.kafka.Options(log), p.broker, c.selection, dry, func(r deadletters.Replayed) error {
		if r.Refused != nil {
			refused++
			_, err := fmt.Fprintf(s.out, "%d\t%d/%d\t%s\trefused: %s\n", r.Position, r.Partition, r.Offset, printable(r.Code), printable(r.Refused.Error()))
			return err
		}
		done++
		_, err := fmt.Fprintf(s.out, "%d\t%d/%d\t%s\t%s\n", r.Position, r.Partition, r.Offset, printable(r.Code), said)
		return err
	})
	fmt.Fprintf(s.out, "%d %s, %d refused\n", done, said, refused)
	switch {
	case err != nil:
		return &exitError{exitUnclear, err}
	case done+refused == 0 && len(c.Letters) > 0:
		return &exitError{exitNo, deadletters.ErrNotFound}
	case dry && !c.DryRun && done > 0:
		fmt.Fprintln(s.err, "nothing was sent; say --yes to put them back")
	}
	if refused > 0 {
		return &exitError{code: exitNo}
	}
	return nil
}

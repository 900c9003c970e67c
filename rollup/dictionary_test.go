package rollup

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ClickHouse/ch-go/proto"

	"agentmeter/internal/clickhouse"
)

// Tests read back what was sent, as ClickHouse would.

var _ proto.ColResult = (*dictionary)(nil)

func (d *dictionary) Row(i int) string { return d.texts.Row(int(d.numbers[i])) }

func (d *dictionary) DecodeState(r *proto.Reader) error {
	version, err := r.Int64()
	if err == nil && version != dictionaryVersion {
		err = fmt.Errorf("version %d", version)
	}
	return err
}

func (d *dictionary) DecodeColumn(r *proto.Reader, rows int) error {
	width, err := r.Int64()
	if err != nil {
		return err
	}
	texts, err := r.Int64()
	if err != nil {
		return err
	}
	if err := d.texts.DecodeColumn(r, int(texts)); err != nil {
		return err
	}
	n, err := r.Int64()
	if err != nil || n != int64(rows) {
		return fmt.Errorf("%d of %d rows: %w", n, rows, err)
	}
	for range rows {
		var number uint32
		switch width {
		case dictionaryOfBlock | numbersUInt16:
			var short uint16
			short, err = r.UInt16()
			number = uint32(short)
		case dictionaryOfBlock | numbersUInt32:
			number, err = r.UInt32()
		default:
			err = fmt.Errorf("width %d", width)
		}
		if err != nil {
			return err
		}
		d.numbers = append(d.numbers, number)
	}
	return nil
}

// What ClickHouse makes of a column is the texts that were appended: few, many,
// none but empty ones, more than 16 bits can number, and some that share what
// they are looked for by.
func TestTextsSurviveTheDictionary(t *testing.T) {
	client := newTables(t)
	mustExec(t, client, "CREATE TABLE texts (n UInt32, text LowCardinality(String)) ENGINE = Memory")
	random := rand.New(rand.NewPCG(randomSeed(t), 1))
	numbered := func(format string, n int) (texts []string) {
		for i := range n {
			texts = append(texts, fmt.Sprintf(format, i))
		}
		return texts
	}
	var d dictionary
	for name, of := range map[string][]string{
		"few":              {"", "a", "b\x00", "Ærø", "a"},
		"empty":            {""},
		"the same endings": numbered("%d-agent-of-a-workspace", 5000),
		"too many":         numbered("%d", 1<<16+1),
	} {
		texts := slices.Clone(of) // each at least once
		for range 10_000 {
			texts = append(texts, of[random.IntN(len(of))])
		}
		d.Reset()
		var n proto.ColUInt32
		for i, text := range texts {
			n.Append(uint32(i))
			d.Append(text)
		}
		body, err := clickhouse.EncodeBlock(nil, len(texts), proto.Input{{Name: "n", Data: &n}, {Name: "text", Data: &d}})
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, client, "TRUNCATE TABLE texts")
		if err := client.Exec(t.Context(), clickhouse.Statement{SQL: "INSERT INTO texts (n, text) FORMAT Native", Body: body}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		err = client.SelectText(t.Context(), clickhouse.Statement{SQL: "SELECT text FROM texts ORDER BY n"}, func(fields []string) error {
			got = append(got, strings.Clone(fields[0]))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, texts) {
			t.Errorf("%s: %d texts came back as %d others", name, len(texts), len(got))
		}
	}
}

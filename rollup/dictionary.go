package rollup

import (
	"encoding/binary"
	"math"

	"github.com/ClickHouse/ch-go/proto"
)

// dictionary is a column of LowCardinality(String): texts that repeat, each
// sent once and named by its number, as ClickHouse keeps them. So the engine has
// neither to read nor to look up the text of each row.
type dictionary struct {
	texts   proto.ColStr // by number
	numbers []uint32     // of the rows
	known   map[string]uint32
	// recent is where a text is looked for first: what is asked is nearly always
	// among few texts.
	recent [1 << recentTextsBits]recentText
}

type recentText struct {
	text   string
	number uint32 // plus one; 0: empty
}

const recentTextsBits = 10

var (
	_ proto.ColInput     = (*dictionary)(nil)
	_ proto.StateEncoder = (*dictionary)(nil)
)

// The serialisation of ClickHouse's Native format: one version, then for each
// block what follows (its own keys, not those of a dictionary that blocks share)
// and how wide numbers are.
const (
	dictionaryVersion = 1
	dictionaryOfBlock = 1<<9 | 1<<10
	numbersUInt16     = 1
	numbersUInt32     = 2
)

// Append adds a row. The text must not change until Reset.
func (d *dictionary) Append(text string) {
	at := &d.recent[recentPlace(text)]
	if at.number == 0 || at.text != text {
		*at = recentText{text, d.number(text) + 1}
	}
	d.numbers = append(d.numbers, at.number-1)
}

func (d *dictionary) number(text string) uint32 {
	n, ok := d.known[text]
	if !ok {
		if d.known == nil {
			d.known = make(map[string]uint32)
		}
		n = uint32(len(d.known))
		d.known[text] = n
		d.texts.Append(text)
	}
	return n
}

// recentPlace spreads texts by their length and their last eight bytes.
func recentPlace(text string) uint64 {
	var tail uint64
	for i := max(0, len(text)-8); i < len(text); i++ {
		tail = tail<<8 | uint64(text[i])
	}
	return (tail ^ uint64(len(text))<<56) * 0x9e3779b97f4a7c15 >> (64 - recentTextsBits)
}

func (d *dictionary) Type() proto.ColumnType {
	return proto.ColumnTypeLowCardinality.Sub(proto.ColumnTypeString)
}

func (d *dictionary) Rows() int { return len(d.numbers) }

func (d *dictionary) Reset() {
	d.texts.Reset()
	d.numbers = d.numbers[:0]
	clear(d.known)
	clear(d.recent[:])
}

func (d *dictionary) EncodeState(b *proto.Buffer) { b.PutInt64(dictionaryVersion) }

func (d *dictionary) EncodeColumn(b *proto.Buffer) {
	width := int64(numbersUInt16)
	if d.texts.Rows() > math.MaxUint16+1 {
		width = numbersUInt32
	}
	b.PutInt64(dictionaryOfBlock | width)
	b.PutInt64(int64(d.texts.Rows()))
	d.texts.EncodeColumn(b)
	b.PutInt64(int64(len(d.numbers)))
	for _, n := range d.numbers {
		if width == numbersUInt16 {
			b.Buf = binary.LittleEndian.AppendUint16(b.Buf, uint16(n))
		} else {
			b.Buf = binary.LittleEndian.AppendUint32(b.Buf, n)
		}
	}
}

// WriteColumn implements proto.ColInput.
func (d *dictionary) WriteColumn(w *proto.Writer) { w.ChainBuffer(d.EncodeColumn) }

package engine_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// nativeBlock is a block (p Int32, o Int64, s String) as ch-go writes it.
func nativeBlock(p int32, lo, hi int64) []byte {
	var partition proto.ColInt32
	var offset proto.ColInt64
	var text proto.ColStr
	for o := lo; o < hi; o++ {
		partition.Append(p)
		offset.Append(o)
		text.Append("line\nbreak " + strconv.FormatInt(o, 10))
	}
	var buf proto.Buffer
	block := proto.Block{Columns: 3, Rows: int(hi - lo)}
	input := proto.Input{{Name: "p", Data: &partition}, {Name: "o", Data: &offset}, {Name: "s", Data: &text}}
	if err := block.EncodeRawBlock(&buf, 0, input); err != nil {
		panic(err)
	}
	return buf.Buf
}

func ledger(t testing.TB) *db {
	d := start(t)
	d.exec("CREATE TABLE ledger (p Int32, o Int64, s String) ENGINE = MergeTree ORDER BY (p, o)")
	d.exec("CREATE TABLE sums (p Int32, n SimpleAggregateFunction(sum, Int64)) ENGINE = AggregatingMergeTree ORDER BY p")
	d.exec("CREATE MATERIALIZED VIEW view TO sums AS SELECT p, toInt64(count()) AS n FROM ledger GROUP BY p")
	return d
}

// append sends the block [lo, hi) on the condition that p's ledger ends at lo.
func (d *db) append(p int32, lo, hi int64) response {
	d.t.Helper()
	const guard = `INSERT INTO ledger (p, o, s) SELECT p, o, s FROM input('p Int32, o Int64, s String') ` +
		`WHERE throwIf(NOT ((SELECT count() FROM ledger WHERE p = {p:Int32} AND o >= {lo:Int64}) = 0 ` +
		`AND ({lo:Int64} = 0 OR (SELECT count() FROM ledger WHERE p = {p:Int32} AND o = {lo:Int64} - 1) = 1))) = 0 ` +
		`SETTINGS max_threads = 1, max_insert_threads = 1 FORMAT Native`
	return d.do(d.t.Context(), http.MethodPost, bytes.NewReader(nativeBlock(p, lo, hi)), nil,
		"query="+guard, fmt.Sprintf("query_id=ledger-%d", p), fmt.Sprintf("param_p=%d", p), fmt.Sprintf("param_lo=%d", lo))
}

func TestConditionalInsertRefusesRepeatsAndGaps(t *testing.T) {
	d := ledger(t)
	for _, step := range []struct {
		lo, hi int64
		code   string
	}{
		{0, 100, ""},
		{0, 100, "395"},   // again
		{150, 200, "395"}, // a gap
		{100, 150, ""},
		{99, 150, "395"}, // an overlap
	} {
		if r := d.append(7, step.lo, step.hi); r.code() != step.code || r.err != nil {
			t.Errorf("[%d, %d): code %q, want %q: %s %v", step.lo, step.hi, r.code(), step.code, r.body, r.err)
		}
	}
	d.want("150\t0\t149\t150", "SELECT count(), min(o), max(o), uniqExact(o) FROM ledger")
	d.want("150", "SELECT sum(n) FROM sums")
	// The refused ones are not left over in the engine.
	d.want("1", "SELECT count() FROM system.processes")
}

func TestBlockBecomesOnePart(t *testing.T) {
	d := ledger(t)
	d.exec("SYSTEM STOP MERGES ledger")
	for i := range int64(3) {
		if r := d.append(0, i*50_000, (i+1)*50_000); r.status != http.StatusOK {
			t.Fatal(r.body, r.err)
		}
	}
	d.want("3\t50000\t50000", "SELECT count(), min(rows), max(rows) FROM system.parts WHERE database = currentDatabase() AND table = 'ledger' AND active")
	d.want("150000", "SELECT sum(n) FROM sums")
	d.want("line\\nbreak 149999", "SELECT s FROM ledger ORDER BY o DESC LIMIT 1")
}

func TestInsertsOfEveryFormArriveWhole(t *testing.T) {
	native := string(nativeBlock(1, 1, 3)) // two rows
	for _, test := range []struct {
		name, query, body string
	}{
		{"native", "INSERT INTO ledger FORMAT Native", native},
		{"native, columns", "INSERT INTO ledger (p, o, s) FORMAT Native", native},
		{"native, qualified, settings", "INSERT INTO TABLE {db}.ledger (`p`, \"o\", s) SETTINGS max_insert_block_size = 100 FORMAT Native", native},
		{"native, comments", "/* INSERT -- */ INSERT -- FORMAT CSV\nINTO ledger /* ; */ FORMAT Native", native},
		{"json", "INSERT INTO ledger FORMAT JSONEachRow", `{"p":1,"o":1,"s":"a;b"} {"p":1,"o":2}`},
		{"csv", "INSERT INTO ledger FORMAT CSV", "1,1,\"x\ny\"\n1,2,'; DROP TABLE ledger; --\n"},
		{"csv with names", "INSERT INTO ledger (o, p) FORMAT CSVWithNames", "p,o\n1,1\n1,2\n"},
		{"tsv", "INSERT INTO ledger FORMAT TSV", "1\t1\tx\n1\t2\ty\n"},
		{"values", "INSERT INTO ledger VALUES", "(1, 1, 'a\nb'),\n(1, 1 + 1, concat('x', {s:String}));"},
		{"values in the query", "INSERT INTO ledger VALUES (1, 1, 'VALUES'), (1, 2, 'FORMAT CSV')", ""},
		{"values, two halves", "INSERT INTO ledger VALUES (1, 1, 'a'),", "(1, 2, 'b')"},
		{"select", "INSERT INTO ledger SELECT 1, number, 'FORMAT' AS format FROM numbers(1, 2)", ""},
		{"select in parentheses", "INSERT INTO ledger (SELECT 1, number + 1, '' FROM numbers(2))", ""},
		{"with select", "INSERT INTO ledger WITH 1 AS one SELECT one, number + 1, '' FROM numbers(2)", ""},
		{"input", "INSERT INTO ledger SELECT p, o, s FROM input('p Int32, o Int64, s String') FORMAT Native", native},
		{"input, nested", "INSERT INTO ledger SELECT * FROM (SELECT p, o, s FROM Input ( 'p Int32, o Int64, s String' ) WHERE p > 0) WHERE o > 0 FORMAT Native", native},
		{"input, csv", "INSERT INTO ledger SELECT a, b, '' FROM input('a Int32, b Int64') FORMAT CSV", "1,1\n1,2\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := ledger(t)
			query := strings.ReplaceAll(test.query, "{db}", d.name)
			check := func() {
				t.Helper()
				d.want("2\t2\t3", "SELECT count(), sum(p), sum(o) FROM ledger")
				d.want("2", "SELECT sum(n) FROM sums")
				d.exec("TRUNCATE TABLE ledger")
				d.exec("TRUNCATE TABLE sums")
			}
			d.exec(test.body, "query="+query, "param_s=y")
			check()
			d.exec(query+"\n"+test.body, "param_s=y") // all of it in the body
			check()
		})
	}
}

func TestRequestBodiesMayBeCompressed(t *testing.T) {
	d := ledger(t)
	plain := nativeBlock(1, 0, 1000)
	encode := func(w io.WriteCloser, out *bytes.Buffer) []byte {
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	bodies := map[string][]byte{}
	var buf bytes.Buffer
	bodies["gzip"] = encode(gzip.NewWriter(&buf), &buf)
	buf = bytes.Buffer{}
	bodies["br"] = encode(brotli.NewWriter(&buf), &buf)
	buf = bytes.Buffer{}
	bodies["lz4"] = encode(lz4.NewWriter(&buf), &buf)
	buf = bytes.Buffer{}
	z, err := zstd.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	bodies["zstd"] = encode(z, &buf)
	native := compress.NewWriter(compress.LevelZero, compress.LZ4)
	if err := native.Compress(plain); err != nil {
		t.Fatal(err)
	}
	bodies["native"] = native.Data

	rows := 0
	for encoding, body := range bodies {
		header, pairs := map[string]string{"Content-Encoding": encoding}, []string{"query=INSERT INTO ledger FORMAT Native"}
		if encoding == "native" {
			header, pairs = nil, append(pairs, "decompress=1")
		}
		if r := d.do(t.Context(), http.MethodPost, bytes.NewReader(body), header, pairs...); r.status != http.StatusOK {
			t.Errorf("%s: %s %v", encoding, r.body, r.err)
			continue
		}
		rows += 1000
		// Cut off anywhere, a body inserts nothing.
		for _, cut := range []int{1, len(body) / 2, len(body) - 1} {
			if r := d.do(t.Context(), http.MethodPost, bytes.NewReader(body[:cut]), header, pairs...); r.status == http.StatusOK {
				t.Errorf("%s cut to %d of %d bytes was accepted", encoding, cut, len(body))
			}
		}
	}
	d.want(strconv.Itoa(rows), "SELECT count() FROM ledger")
	if r := d.do(t.Context(), http.MethodPost, strings.NewReader("x"), map[string]string{"Content-Encoding": "rot13"}, "query=INSERT INTO ledger FORMAT CSV"); r.code() != "48" {
		t.Errorf("an unknown encoding: %d %s", r.status, r.body)
	}
}

func TestBodyThatBreaksOffInsertsNothing(t *testing.T) {
	d := ledger(t)
	reader, writer := io.Pipe()
	done := make(chan response, 1)
	go func() {
		done <- d.do(t.Context(), http.MethodPost, reader, nil, "query=INSERT INTO ledger FORMAT CSV", "query_id=broken")
	}()
	for range 1000 {
		if _, err := writer.Write([]byte("1,1,x\n")); err != nil {
			t.Fatal(err)
		}
	}
	// The id is free meanwhile: the statement has not begun.
	d.exec("SELECT 1", "query_id=broken")
	_ = writer.CloseWithError(errors.New("the client's disk died"))
	if r := <-done; r.err == nil {
		t.Fatalf("got an answer: %d %s", r.status, r.body)
	}
	d.exec("INSERT INTO ledger VALUES (2, 2, '')")
	d.want("1", "SELECT count() FROM ledger")
}

// The engine's caches know a file by its path, which all bodies share.
func TestBodiesAreNotMistakenForOneAnother(t *testing.T) {
	d := ledger(t)
	for n := range int64(20) {
		body := string(nativeBlock(1, 0, n+1))
		d.exec(body, "query=INSERT INTO ledger SELECT 1, count(), '' FROM input('p Int32, o Int64, s String') FORMAT Native")
	}
	d.want("20\t20\t210", "SELECT count(), uniqExact(o), sum(o) FROM ledger")
}

func TestClientsOwnFilesAndServersOwnFilesStayApart(t *testing.T) {
	d := ledger(t)
	d.refuse("48", "INSERT INTO ledger FROM INFILE '/etc/passwd' FORMAT CSV")
	d.refuse("48", "SELECT 1 INTO OUTFILE '/tmp/agentmeter-test-outfile' FORMAT CSV")
}

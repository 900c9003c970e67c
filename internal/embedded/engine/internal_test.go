package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/ClickHouse/ch-go/proto"
	"pgregory.net/rapid"
)

func TestStatementsAreToldFromTheirFormatsAndData(t *testing.T) {
	for _, test := range []struct {
		sql    string
		kind   statementKind
		format string
		text   string // empty: the whole sql
		run    string // with the data at /f
		data   string
	}{
		{sql: "SELECT 1", kind: kindSelect},
		{sql: "  /* c */ (SELECT 1) UNION ALL (SELECT 2) FORMAT JSON", kind: kindSelect, format: "JSON"},
		{sql: "SELECT 'FORMAT CSV'", kind: kindSelect},
		{sql: "SELECT format FROM t", kind: kindSelect},
		{sql: "SELECT 1 AS format", kind: kindSelect},
		{sql: "SELECT 1 FORMAT Native SETTINGS a = 1", kind: kindSelect, format: "Native"},
		{sql: "SELECT 1 SETTINGS a = 1 FORMAT Native;", kind: kindSelect, format: "Native", text: "SELECT 1 SETTINGS a = 1 FORMAT Native"},
		{sql: "SELECT (SELECT 1 FORMAT x)", kind: kindSelect},
		{sql: "with x as (select 1) select * from x", kind: kindSelect},
		{sql: "WITH 1 AS a INSERT INTO t SELECT a", kind: kindOther},
		{sql: "SHOW TABLES FORMAT TSVRaw", kind: kindOther, format: "TSVRaw"},
		{sql: "CREATE TABLE t (a UInt8) ENGINE = Memory", kind: kindOther},
		{sql: "CREATE TEMPORARY TABLE t (a UInt8)", kind: kindSession},
		{sql: "set a = 1", kind: kindSession},
		{sql: "USE db", kind: kindSession},
		{sql: "INSERT INTO t SELECT format FROM x", kind: kindOther},
		{sql: "INSERT INTO t SELECT input FROM input", kind: kindOther},
		{sql: "INSERT INTO t", kind: kindOther},
		{
			sql: "INSERT INTO t FORMAT Native\nDATA", kind: kindInsert, format: "Native", text: "INSERT INTO t ", data: "DATA",
			run: "INSERT INTO t FROM INFILE '/f' COMPRESSION 'none'   FORMAT Native",
		},
		{
			sql: "INSERT INTO TABLE `d b`.\"t\" (a, `b)`) SETTINGS x = 'FORMAT y' FORMAT CSV 1,2", kind: kindInsert, format: "CSV",
			text: "INSERT INTO TABLE `d b`.\"t\" (a, `b)`) SETTINGS x = 'FORMAT y' ", data: "1,2",
			run: "INSERT INTO TABLE `d b`.\"t\" (a, `b)`) FROM INFILE '/f' COMPRESSION 'none'  SETTINGS x = 'FORMAT y'  FORMAT CSV",
		},
		{
			sql: "INSERT INTO FUNCTION file('x', 'CSV', 'a Int8') (a) VALUES (1);", kind: kindInsert, format: "Values",
			text: "INSERT INTO FUNCTION file('x', 'CSV', 'a Int8') (a) ", data: " (1);",
			run: "INSERT INTO FUNCTION file('x', 'CSV', 'a Int8') (a) FROM INFILE '/f' COMPRESSION 'none'   FORMAT Values",
		},
		{
			sql: "INSERT INTO table FORMAT TSV\r\n\n1", kind: kindInsert, format: "TSV", text: "INSERT INTO table ", data: "\n1",
			run: "INSERT INTO table FROM INFILE '/f' COMPRESSION 'none'   FORMAT TSV",
		},
		{
			sql:  "INSERT INTO t SELECT a FROM (SELECT a FROM input( 'a Int8, b String' ) WHERE a) WHERE throwIf(0) = 0 SETTINGS x = 1 FORMAT Native\x00\x01",
			kind: kindInsert, format: "Native", data: "\x00\x01",
			text: "INSERT INTO t SELECT a FROM (SELECT a FROM input( 'a Int8, b String' ) WHERE a) WHERE throwIf(0) = 0 SETTINGS x = 1 ",
			run:  "INSERT INTO t SELECT a FROM (SELECT a FROM file('/f', 'Native',  'a Int8, b String' , 'none') WHERE a) WHERE throwIf(0) = 0 SETTINGS x = 1 ",
		},
	} {
		s, err := parseStatement([]byte(test.sql))
		if err != nil {
			t.Errorf("%s: %v", test.sql, err)
			continue
		}
		if test.text == "" {
			test.text = test.sql
		}
		if s.kind != test.kind || s.format != test.format || string(s.text) != test.text || string(s.data) != test.data {
			t.Errorf("%s: got %s, format %q, text %q, data %q", test.sql, s.kind, s.format, s.text, s.data)
		}
		if test.run != "" && s.kind == kindInsert {
			if got := string(s.withData("/f")); got != test.run {
				t.Errorf("%s: runs as %q, want %q", test.sql, got, test.run)
			}
		}
	}
	for _, sql := range []string{
		"", ";", "SELECT 1; SELECT 2", "INSERT INTO t SELECT 1; SELECT 2", "SELECT 1 INTO OUTFILE 'x'", "INSERT INTO t FROM INFILE 'x' FORMAT CSV",
		"INSERT INTO t FORMAT CSV; 1", "INSERT INTO t (a", "INSERT INTO t FORMAT 'CSV'", "INSERT INTO t FORMAT `CSV; DROP TABLE t`",
	} {
		if s, err := parseStatement([]byte(sql)); err == nil {
			t.Errorf("%q is accepted as %s", sql, s.kind)
		}
	}
}

func FuzzParseStatement(f *testing.F) {
	for _, sql := range []string{
		"INSERT INTO a.b (c) SETTINGS x = 1 FORMAT Native\n\x00", "INSERT INTO t SELECT * FROM input('a Int8') FORMAT CSV 1",
		"SELECT 1 FORMAT JSON;", "WITH (SELECT $a$;$a$) AS x SELECT x -- ;", "INSERT INTO t VALUES (1)", "/* * / */ SET a=1",
	} {
		f.Add([]byte(sql))
	}
	f.Fuzz(func(t *testing.T, sql []byte) {
		s, err := parseStatement(sql)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(sql, s.text) {
			t.Fatalf("%q is no beginning of %q", s.text, sql)
		}
		if s.kind != kindInsert {
			if s.data != nil {
				t.Fatalf("%q has data", sql)
			}
			return
		}
		if !bytes.HasSuffix(sql, s.data) {
			t.Fatalf("%q is no end of %q", s.data, sql)
		}
		if strings.ContainsFunc(s.format, func(r rune) bool { return r < 0x80 && !isWord(byte(r)) && r != '$' }) {
			t.Fatalf("format %q is no word", s.format)
		}
		run := s.withData("/proc/self/fd/9")
		if !bytes.Contains(run, []byte("'/proc/self/fd/9'")) {
			t.Fatalf("%q does not read its data", run)
		}
		// What is sent to the engine is one statement again, without data of its own.
		if again, err := parseStatement(append(run, '\n')); err == nil && again.kind == kindInsert && len(bytes.TrimSpace(again.data)) > 0 {
			t.Fatalf("%q has data %q", run, again.data)
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	f.Add("query=SELECT+1&database=d&param_a=b&max_threads=1", "", "")
	f.Add("query=INSERT+INTO+t+FORMAT+CSV&compress=1", "1,2", "gzip")
	f.Add("", "SELECT 1", "")
	f.Fuzz(func(t *testing.T, rawQuery, body, encoding string) {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(body))
		r.URL.RawQuery = rawQuery
		r.Header.Set("Content-Encoding", encoding)
		req, err := parseRequest(r, 1<<20)
		if err != nil {
			var exception *Exception
			if !errors.As(err, &exception) || exception.Code == codeLogicalError {
				t.Fatalf("%v is no exception for the client", err)
			}
			return
		}
		defer req.done()
		if req.data != nil {
			if _, err := io.Copy(io.Discard, req.data); err != nil {
				_ = asException(bodyError(err)) // must not panic
			}
		}
		for _, sql := range req.spec.statements() {
			checkSessionStatement(t, sql)
		}
	})
}

// checkSessionStatement: whatever the values are, the statement is one USE of
// one identifier, or one SET of names to string literals.
func checkSessionStatement(t *testing.T, sql string) {
	t.Helper()
	l := lexer{text: []byte(sql)}
	var shape strings.Builder
	for {
		tok := l.next()
		if tok.kind == tokenEnd {
			break
		}
		switch tok.kind {
		case tokenString:
			shape.WriteString("S")
		case tokenQuoted:
			shape.WriteString("Q")
		case tokenWord:
			if l.is(tok, "SET") || l.is(tok, "USE") {
				shape.WriteString(strings.ToUpper(sql[tok.start:tok.end]))
			} else {
				shape.WriteString("W")
			}
		case tokenSymbol:
			shape.WriteString(sql[tok.start:tok.end])
		default:
			t.Fatalf("%q has an odd token %q", sql, sql[tok.start:tok.end])
		}
	}
	got := strings.ReplaceAll(shape.String(), ",W=S", "")
	if got != "USEQ" && got != "SETW=S" && !strings.HasPrefix(got, "SETSET=S") && !strings.HasPrefix(got, "SETUSE=S") {
		t.Fatalf("%q has the shape %q", sql, got)
	}
}

func TestSettingsAndDatabaseAreAlwaysQuoted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		spec := sessionSpec{database: rapid.String().Draw(rt, "database"), readonly: rapid.String().Draw(rt, "readonly")}
		for i := range rapid.IntRange(0, 3).Draw(rt, "settings") {
			spec.settings = append(spec.settings, setting{"s" + string(rune('a'+i)), rapid.String().Draw(rt, "value")})
		}
		for _, sql := range spec.statements() {
			checkSessionStatement(t, sql)
		}
	})
}

func FuzzNative(f *testing.F) {
	var id proto.ColUInt64
	low := new(proto.ColStr).LowCardinality()
	list := new(proto.ColStr).Array()
	for i := range 3 {
		id.Append(uint64(i))
		low.Append("x")
		list.Append([]string{"a", "b"})
	}
	var buf proto.Buffer
	block := proto.Block{Columns: 3, Rows: 3}
	input := proto.Input{{Name: "id", Data: &id}, {Name: "low", Data: low}, {Name: "list", Data: list}}
	if err := block.EncodeRawBlock(&buf, 0, input); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Buf)
	f.Add([]byte("\x01\x02\x01a\x1cArray(Tuple(a UInt8, b Nullable(Map(String,Int8))))garbage"))
	f.Fuzz(func(t *testing.T, src []byte) {
		plain, err := appendNative(nil, src, 0)
		if err != nil || !bytes.Equal(plain, src) {
			t.Fatalf("revision 0 is not left alone: %v", err)
		}
		out, err := appendNative(nil, src, 54460)
		if err == nil && len(src) > 0 && len(out) < len(src)+8 {
			t.Fatalf("%d bytes became %d", len(src), len(out))
		}
	})
}

func TestStatementsBeyondTheBoundAreRefused(t *testing.T) {
	p := newPool(1, 1, func(sessionSpec) (*session, error) { return &session{}, nil })
	if err := p.admit(t.Context()); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- p.admit(t.Context()) }()
	for len(p.waiting) < 2 {
		runtime.Gosched()
	}
	if err := p.admit(t.Context()); !errors.Is(err, errTooMany) {
		t.Fatalf("the third got %v", err)
	}
	p.leave()
	if err := <-waiting; err != nil {
		t.Fatalf("the second got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.admit(ctx); !isCancelled(err) {
		t.Fatalf("who left got %v", err)
	}
	p.leave()
	if err := p.admit(t.Context()); err != nil {
		t.Fatalf("after all that: %v", err)
	}
	p.leave()
	p.close()
	if len(p.running) != 1 {
		t.Fatal("close does not hold the place")
	}
}

func TestABodyIsCopiedOnce(t *testing.T) {
	const size = 8 << 20
	body := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	dir := t.TempDir()
	spoolOnce := func() {
		b, err := spool(&boundedReader{from: bytes.NewReader(body), left: size, limit: size}, dir)
		if err != nil {
			t.Fatal(err)
		}
		if b.size != size {
			t.Fatalf("%d bytes", b.size)
		}
		b.close()
	}
	spoolOnce() // fills the pool of buffers
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	spoolOnce()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 512<<10 {
		t.Fatalf("%d bytes allocated for a body of %d", got, size)
	}
}

func TestALargeBodyGoesToDiskAndComesBackWhole(t *testing.T) {
	for _, size := range []int64{0, 1, spillBytes - 1, spillBytes, spillBytes + 1} {
		b, err := spool(io.LimitReader(counting{}, size), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if b.size != size {
			t.Errorf("%d bytes of %d", b.size, size)
		}
		for _, at := range []int64{0, size / 2, spillBytes - 1, spillBytes, size - 1} {
			if at < 0 || at >= size {
				continue
			}
			var got [1]byte
			if _, err := b.file.ReadAt(got[:], at); err != nil || got[0] != 0xa5 {
				t.Errorf("byte %d of %d is %x (%v)", at, size, got[0], err)
			}
		}
		b.close()
	}
	if _, err := spool(&boundedReader{from: counting{}, left: 100, limit: 100}, t.TempDir()); err == nil {
		t.Error("a body beyond the bound is accepted")
	}
}

// counting is a source without an end.
type counting struct{}

func (counting) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 0xa5
	}
	return len(p), nil
}

func TestConfigReportsAllFaultsAtOnce(t *testing.T) {
	err := ChildConfig{Config: Config{MemoryBytes: 1, MaxStatements: -1}}.Validate()
	for _, word := range []string{"directory", "256 MiB", "statements", "listen", "command"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not mention %q", err, word)
		}
	}
}

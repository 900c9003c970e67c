package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/ClickHouse/ch-go/compress"
)

const (
	// answerBuffer is how much of an answer is kept back, so that an error that
	// occurs early still gets its own HTTP status.
	answerBuffer = 1 << 20
	// writeTimeout is how long a client may take to accept a piece of the answer
	// before it counts as gone: it holds a session and a place meanwhile.
	writeTimeout = time.Minute
)

// facts are the numbers of X-ClickHouse-Summary.
type facts struct {
	rows, readRows, readBytes, writtenRows, writtenBytes uint64
}

// answer writes an HTTP response in ClickHouse's manner.
type answer struct {
	w          http.ResponseWriter
	controller *http.ResponseController
	held       bytes.Buffer // until answerBuffer is reached
	started    bool         // the status is on its way
	failed     bool         // the client is gone
	tag        string       // marks an exception in the middle of the body
	began      time.Time
	resultSize uint64
	compressor *compress.Writer
	native     []byte // scratch for transcoded blocks
}

func newAnswer(w http.ResponseWriter) *answer {
	return &answer{w: w, controller: http.NewResponseController(w), began: time.Now()}
}

// begin sets the headers that do not depend on how it ends.
func (a *answer) begin(queryID, format, zone, server string) {
	h := a.w.Header()
	if isPrintable(queryID) {
		h.Set("X-ClickHouse-Query-Id", queryID)
	}
	if isPrintable(format) {
		h.Set("X-ClickHouse-Format", format)
	}
	h.Set("X-ClickHouse-Timezone", zone)
	h.Set("X-ClickHouse-Server-Display-Name", server)
	h.Set("Content-Type", contentType(format))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// isPrintable holds for what may stand in a header.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// write adds to the body. data is only borrowed.
func (a *answer) write(data []byte) error {
	a.resultSize += uint64(len(data))
	if a.compressor != nil {
		for len(data) > 0 {
			n := min(len(data), 1<<20)
			if err := a.compressor.Compress(data[:n]); err != nil {
				return err
			}
			if err := a.writeRaw(a.compressor.Data); err != nil {
				return err
			}
			data = data[n:]
		}
		return nil
	}
	return a.writeRaw(data)
}

func (a *answer) writeRaw(data []byte) error {
	if !a.started {
		if a.held.Len()+len(data) <= answerBuffer {
			a.held.Write(data)
			return nil
		}
		a.tag = fmt.Sprintf("%016x", rand.Uint64()) //nolint:gosec // tells the frame from data, keeps no secret
		a.w.Header().Set("X-ClickHouse-Exception-Tag", a.tag)
		a.start(http.StatusOK)
		if err := a.send(a.held.Bytes()); err != nil {
			return err
		}
		a.held = bytes.Buffer{}
	}
	return a.send(data)
}

func (a *answer) start(status int) {
	a.started = true
	a.w.WriteHeader(status)
}

func (a *answer) send(data []byte) error {
	// Not every writer has deadlines; a test's recorder does not.
	_ = a.controller.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := a.w.Write(data); err != nil {
		a.failed = true
		return err
	}
	return nil
}

// finish ends an answer that went well.
func (a *answer) finish(f facts) {
	if a.started {
		return
	}
	h := a.w.Header()
	h.Set("X-ClickHouse-Summary", fmt.Sprintf(`{"read_rows":"%d","read_bytes":"%d","written_rows":"%d","written_bytes":"%d",`+
		`"total_rows_to_read":"0","result_rows":"%d","result_bytes":"%d","elapsed_ns":"%d"}`,
		f.readRows, f.readBytes, f.writtenRows, f.writtenBytes, f.rows, a.resultSize, time.Since(a.began).Nanoseconds()))
	h.Set("Content-Length", strconv.Itoa(a.held.Len()))
	a.start(http.StatusOK)
	_ = a.send(a.held.Bytes()) // the client is gone: nobody is left to tell
}

// fail ends an answer with an exception: with its status if nothing was sent
// yet, else in band and by cutting the connection.
func (a *answer) fail(e *Exception) {
	if a.failed {
		return
	}
	if a.started {
		frame := fmt.Appendf(nil, "\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n", a.tag, e.Text, len(e.Text)+1, a.tag)
		_ = a.write(frame)
		_ = a.controller.Flush()
		panic(http.ErrAbortHandler) // net/http's way to end a body that is not whole
	}
	h := a.w.Header()
	h.Set("X-ClickHouse-Exception-Code", strconv.Itoa(e.Code))
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Del("X-ClickHouse-Format")
	if e.Code == codeTooManyStatements {
		h.Set("Retry-After", "1")
	}
	text := []byte(e.Text + "\n")
	if a.compressor != nil {
		// The client's reader expects compressed blocks whatever the status.
		if err := a.compressor.Compress(text); err == nil {
			text = a.compressor.Data
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	a.start(e.status())
	_ = a.send(text)
}

// contentType is what a server says about the formats in use here.
func contentType(format string) string {
	switch format {
	case "JSON", "JSONCompact", "JSONColumns", "JSONStrings", "JSONColumnsWithMetadata", "JSONObjectEachRow":
		return "application/json; charset=UTF-8"
	case "JSONEachRow", "JSONLines", "NDJSON", "JSONCompactEachRow", "JSONStringsEachRow":
		return "application/x-ndjson; charset=UTF-8"
	case "CSV", "CSVWithNames", "CSVWithNamesAndTypes":
		return "text/csv; charset=UTF-8; header=" + map[bool]string{true: "absent", false: "present"}[format == "CSV"]
	case "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "TabSeparatedWithNames", "TSVWithNames",
		"TabSeparatedWithNamesAndTypes", "TSVWithNamesAndTypes":
		return "text/tab-separated-values; charset=UTF-8"
	case "Native", "RowBinary", "RowBinaryWithNames", "RowBinaryWithNamesAndTypes", "Parquet", "Arrow", "ArrowStream", "ORC":
		return "application/octet-stream"
	case "XML":
		return "application/xml; charset=UTF-8"
	}
	return "text/plain; charset=UTF-8"
}

// streams tells whether chunks of the format can simply follow one another.
// The engine writes each chunk as a document of its own, with its own header.
func streams(format string) bool {
	switch format {
	case "Native", "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV",
		"JSONEachRow", "JSONLines", "NDJSON", "JSONCompactEachRow", "RowBinary":
		return true
	}
	return false
}

//go:build cgo && (linux || darwin) && (amd64 || arm64)

package engine

/*
#cgo linux LDFLAGS: -ldl
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <dlfcn.h>

// The parts of chdb.h that are used. Every call is resolved with dlsym, so the
// program builds and starts without the library.
typedef struct { void * internal; } chdb_result;
typedef struct { void * internal; } * chdb_connection;

static struct {
	void              (*set_signal_handlers_enabled)(int);
	chdb_connection * (*connect)(int, char **);
	void              (*close_conn)(chdb_connection *);
	chdb_result *     (*query)(chdb_connection, const char *, size_t, const char *, size_t,
	                           const char * const *, const size_t *, const char * const *, const size_t *, size_t);
	chdb_result *     (*stream)(chdb_connection, const char *, size_t, const char *, size_t,
	                            const char * const *, const size_t *, const char * const *, const size_t *, size_t);
	chdb_result *     (*stream_fetch)(chdb_connection, chdb_result *);
	void              (*stream_cancel)(chdb_connection, chdb_result *);
	void              (*destroy)(chdb_result *);
	char *            (*buffer)(chdb_result *);
	size_t            (*length)(chdb_result *);
	const char *      (*error)(chdb_result *);
	uint64_t          (*rows_read)(chdb_result *);
	uint64_t          (*storage_rows_read)(chdb_result *);
	uint64_t          (*storage_bytes_read)(chdb_result *);
	uint64_t          (*rows_written)(chdb_result *);
	uint64_t          (*bytes_written)(chdb_result *);
} lib;

static const char * am_load(const char * path) {
	void * h = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	if (!h) return dlerror();
	const char * missing = NULL;
#define AM_SYMBOL(field, name) \
	*(void **)(&lib.field) = dlsym(h, name); \
	if (!lib.field && !missing) missing = "no symbol " name;
	AM_SYMBOL(set_signal_handlers_enabled, "chdb_set_signal_handlers_enabled")
	AM_SYMBOL(connect,            "chdb_connect")
	AM_SYMBOL(close_conn,         "chdb_close_conn")
	AM_SYMBOL(query,              "chdb_query_with_params_n")
	AM_SYMBOL(stream,             "chdb_stream_query_with_params_n")
	AM_SYMBOL(stream_fetch,       "chdb_stream_fetch_result")
	AM_SYMBOL(stream_cancel,      "chdb_stream_cancel_query")
	AM_SYMBOL(destroy,            "chdb_destroy_query_result")
	AM_SYMBOL(buffer,             "chdb_result_buffer")
	AM_SYMBOL(length,             "chdb_result_length")
	AM_SYMBOL(error,              "chdb_result_error")
	AM_SYMBOL(rows_read,          "chdb_result_rows_read")
	AM_SYMBOL(storage_rows_read,  "chdb_result_storage_rows_read")
	AM_SYMBOL(storage_bytes_read, "chdb_result_storage_bytes_read")
	AM_SYMBOL(rows_written,       "chdb_result_rows_written")
	AM_SYMBOL(bytes_written,      "chdb_result_bytes_written")
#undef AM_SYMBOL
	if (missing) return missing;
	// Otherwise the engine replaces the Go runtime's signal handlers.
	lib.set_signal_handlers_enabled(0);
	// The engine's zone: TZ in the C environment alone, Go's own stays as it is.
	setenv("TZ", "UTC", 1);
	return NULL;
}

static chdb_connection * am_connect(int argc, char ** argv) { return lib.connect(argc, argv); }
static void am_close(chdb_connection * c) { lib.close_conn(c); }

// packed holds, for n strings, first n names and then n values, back to back.
static chdb_result * am_query(chdb_connection * c, int stream, const char * sql, size_t sql_len,
                              const char * format, size_t format_len,
                              const char * packed, const size_t * lens, size_t n) {
	const char ** at = NULL;
	if (n) {
		at = malloc(2 * n * sizeof *at);
		if (!at) return NULL;
		for (size_t i = 0; i < 2 * n; i++) { at[i] = packed; packed += lens[i]; }
	}
	chdb_result * r = (stream ? lib.stream : lib.query)(*c, sql, sql_len, format, format_len,
		at, lens, at + n, lens + n, n);
	free(at);
	return r;
}

static chdb_result * am_fetch(chdb_connection * c, chdb_result * s) { return lib.stream_fetch(*c, s); }
static void am_cancel(chdb_connection * c, chdb_result * s) { lib.stream_cancel(*c, s); }
static void am_destroy(chdb_result * r) { lib.destroy(r); }

// One call instead of seven: a cgo call costs as much as a small copy.
typedef struct {
	char * buffer; size_t length; const char * error; size_t error_length;
	uint64_t rows, read_rows, read_bytes, written_rows, written_bytes;
} am_facts;

static const char * am_error(chdb_result * r) {
	return r ? lib.error(r) : "Code: 173. DB::Exception: the engine returned no result";
}

static am_facts am_result(chdb_result * r) {
	am_facts f = {0};
	if (!r) { f.error = "Code: 173. DB::Exception: the engine returned no result"; f.error_length = strlen(f.error); return f; }
	f.error = lib.error(r);
	if (f.error) { f.error_length = strlen(f.error); return f; }
	f.buffer = lib.buffer(r);
	f.length = f.buffer ? lib.length(r) : 0;
	f.rows = lib.rows_read(r);
	f.read_rows = lib.storage_rows_read(r);
	f.read_bytes = lib.storage_bytes_read(r);
	f.written_rows = lib.rows_written(r);
	f.written_bytes = lib.bytes_written(r);
	return f;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"
)

// buildable tells whether this build can load the engine at all.
func buildable() error { return nil }

var (
	loadOnce sync.Once
	errLoad  error
)

// loadLibrary loads libchdb, once a process: it can't be unloaded, because its
// threads live on.
func loadLibrary(path string) error {
	loadOnce.Do(func() {
		cpath := C.CString(path)
		defer C.free(unsafe.Pointer(cpath))
		if msg := C.am_load(cpath); msg != nil {
			errLoad = fmt.Errorf("load engine library %s: %s", path, C.GoString(msg))
		}
	})
	return errLoad
}

// session is one connection of the engine: its own settings and current
// database, one statement at a time. Not safe for concurrent use.
type session struct {
	conn *C.chdb_connection
	mark string // see marked
}

func openSession(args []string) (*session, error) {
	argv := make([]*C.char, 0, len(args)+2)
	for _, arg := range append([]string{"agentmeter"}, args...) {
		argv = append(argv, C.CString(arg))
	}
	defer func() {
		for _, arg := range argv {
			C.free(unsafe.Pointer(arg))
		}
	}()
	// The array that C sees must itself be C memory: it holds pointers.
	size := C.size_t(len(argv)+1) * C.size_t(unsafe.Sizeof((*C.char)(nil)))
	array := C.malloc(size)
	defer C.free(array)
	slots := unsafe.Slice((**C.char)(array), len(argv)+1)
	copy(slots, argv)
	slots[len(argv)] = nil

	conn := C.am_connect(C.int(len(argv)), (**C.char)(array))
	if conn == nil {
		return nil, errors.New("the engine refused the connection")
	}
	return &session{conn: conn}, nil
}

func (s *session) close() {
	C.am_close(s.conn)
	s.conn = nil
}

// query runs one statement to its end. The result must be released.
func (s *session) query(sql []byte, format string, params []param) *result {
	return newResult(s.start(0, sql, format, params))
}

// stream begins a SELECT whose result is fetched block by block.
func (s *session) stream(sql []byte, format string, params []param) *stream {
	return &stream{session: s, handle: s.start(1, sql, format, params)}
}

func (s *session) start(streaming C.int, sql []byte, format string, params []param) *C.chdb_result {
	var packed []byte
	lens := make([]C.size_t, 0, 2*len(params)+1)
	for _, p := range params {
		packed = append(packed, p.name...)
		lens = append(lens, C.size_t(len(p.name)))
	}
	for _, p := range params {
		packed = append(packed, p.value...)
		lens = append(lens, C.size_t(len(p.value)))
	}
	lens = append(lens, 0)          // so that there is a first one to point at
	packed = append(packed, 0)      // likewise
	sql = append(sql, 0)[:len(sql)] // likewise, and the engine's lexer likes a NUL to stop at
	formatBytes := append([]byte(format), 0)
	return C.am_query(s.conn, streaming,
		(*C.char)(unsafe.Pointer(unsafe.SliceData(sql))), C.size_t(len(sql)),
		(*C.char)(unsafe.Pointer(unsafe.SliceData(formatBytes))), C.size_t(len(format)),
		(*C.char)(unsafe.Pointer(unsafe.SliceData(packed))), unsafe.SliceData(lens), C.size_t(len(params)))
}

// result is what the engine answered. data is the engine's own memory: it is
// valid until release and must not be written to.
type result struct {
	handle *C.chdb_result
	data   []byte
	err    error
	facts  facts
}

func newResult(handle *C.chdb_result) *result {
	f := C.am_result(handle)
	r := &result{handle: handle}
	if f.error != nil {
		r.err = parseException(C.GoStringN(f.error, C.int(f.error_length)))
		return r
	}
	if f.length > 0 {
		r.data = unsafe.Slice((*byte)(unsafe.Pointer(f.buffer)), int(f.length))
	}
	r.facts = facts{
		rows: uint64(f.rows), readRows: uint64(f.read_rows), readBytes: uint64(f.read_bytes),
		writtenRows: uint64(f.written_rows), writtenBytes: uint64(f.written_bytes),
	}
	return r
}

func (r *result) release() {
	if r.handle != nil {
		C.am_destroy(r.handle)
		r.handle, r.data = nil, nil
	}
}

// stream is a SELECT under way on its session.
type stream struct {
	session *session
	handle  *C.chdb_result
}

// err tells whether the statement could be started.
func (s *stream) err() error {
	// Only the error: a stream's handle has no buffer of its own.
	if msg := C.am_error(s.handle); msg != nil {
		return parseException(C.GoString(msg))
	}
	return nil
}

// next returns the next chunk; an empty one is the end.
func (s *stream) next() *result {
	return newResult(C.am_fetch(s.session.conn, s.handle))
}

// cancel stops the statement and returns when the engine has stopped it.
func (s *stream) cancel() { C.am_cancel(s.session.conn, s.handle) }

func (s *stream) release() {
	if s.handle != nil {
		C.am_destroy(s.handle)
		s.handle = nil
	}
}

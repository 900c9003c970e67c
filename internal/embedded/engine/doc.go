// Package engine runs ClickHouse inside this process and speaks ClickHouse's
// HTTP protocol in front of it, so that a client cannot tell it from a server.
//
// # In and out
//
// In: HTTP requests on a loopback listener, as curl, clickhouse-go/v2
// (Protocol: clickhouse.HTTP) and Grafana send them. Out: results in any of
// ClickHouse's formats, or its exceptions: an HTTP status, the header
// X-ClickHouse-Exception-Code and the text "Code: N. DB::Exception: …".
//
// Supported: GET (read-only) and POST; the statement in the URL, the body, or
// both; database, default_format, query_id, param_*, compress, decompress,
// wait_end_of_query, client_protocol_version and every setting as parameters;
// X-ClickHouse-Database, -Format, -User; request bodies with Content-Encoding
// gzip, deflate, br, zstd, lz4; INSERT … FORMAT f and INSERT … SELECT … FROM
// input(…) … FORMAT f with a body; /ping. Answers are never compressed by
// Content-Encoding (the client may ask, identity is a valid answer), only by
// compress=1. Refused with ClickHouse's error 48: sessions (session_id),
// external tables (multipart bodies), INTO OUTFILE and FROM INFILE.
//
// # What is promised
//
//   - A statement runs on a session with exactly the request's database and
//     settings; nothing that another request SET is left over.
//   - Parameters are bound by the engine, settings and the database are quoted:
//     none of their values can become SQL.
//   - While a statement with query_id=X runs, another one with X is refused with
//     error 216 and changes nothing. "Runs" means: in the engine. A client that
//     goes away does not end its statement, and with it the hold on the id, with
//     two exceptions, whose ids stay held until the engine has stopped: a SELECT
//     whose result is being streamed ends with the first piece that cannot be
//     sent, and a statement with readonly and
//     cancel_http_readonly_queries_on_client_close is stopped at once, as on a
//     server (unless it has a log_comment of its own). After an error the session
//     is used once more (SELECT 1), because only then does the engine forget a
//     failed INSERT; then the id is released.
//   - An INSERT begins when its body has arrived in full. A broken body, or a
//     client that dies while sending, inserts nothing.
//   - At most Config.MaxStatements statements run and Config.MaxWaiting wait;
//     more are refused with error 202 (HTTP 503, Retry-After).
//   - Results are streamed (Native, TSV, CSV, JSONEachRow, RowBinary) or bounded by
//     Config.MaxResultBytes (the rest; error 396). An error in the middle of a
//     stream is sent in band, in ClickHouse's frame, and cuts the connection.
//
// When the process is killed, what was answered is on disk as far as the kernel
// is concerned; a statement that was running may or may not have happened, and
// an INSERT's block may be in its table and not in the table's views.
//
// # Not promised
//
// Native answers name a DateTime without its zone, because the engine's oldest
// revision does (a DateTime64 keeps it). The engine's zone is UTC, so the
// instants are right. Columns of AggregateFunction, JSON, Dynamic and Variant
// can't be sent in Native format at a client's revision (error 48). A request's
// query_id is the front's: the engine's system.processes shows one of its own,
// and KILL QUERY does not know the client's.
//
// There is no authentication: whoever reaches the listener may run any SQL, and
// with it read any file that this process can read. Hence loopback listeners
// only, and requests that a browser sends on behalf of some page are refused.
//
// One process has one engine with one data directory, see [Open]. The product
// runs it in a child process of its own, see [Supervise].
package engine

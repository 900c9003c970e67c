package engine

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
)

// maxQueryBytes bounds a statement's text, without the data behind an INSERT.
const maxQueryBytes = 1 << 20

// request is what an HTTP request asks for, checked and taken apart.
type request struct {
	*statement
	spec     sessionSpec
	params   []param
	queryID  string
	format   string // the output format, if the statement has none
	revision int    // of Native blocks that the client wants
	whole    bool   // wait_end_of_query: no byte of the answer before the end
	compress compress.Method
	// data is where an INSERT's rows come from; nil for other statements.
	data io.Reader
	// done releases what data holds.
	done func()
}

// outputFormat is the format that the engine will answer in.
func (req *request) outputFormat() string {
	if req.statement.format != "" && req.kind != kindInsert {
		return req.statement.format
	}
	return req.format
}

// parseRequest reads everything but an INSERT's data.
func parseRequest(r *http.Request, maxBodyBytes int64) (_ *request, err error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, exceptionf(codeBadArguments, "BAD_ARGUMENTS", "URL parameters: %v", err)
	}
	req := &request{format: "TabSeparated", compress: compress.None, done: func() {}}
	if err := req.authenticate(r, values); err != nil {
		return nil, err
	}
	query, decompress, err := req.parameters(r, values)
	if err != nil {
		return nil, err
	}
	if req.compress != compress.None {
		if method := settingValue(req.spec.settings, "network_compression_method"); strings.EqualFold(method, "zstd") {
			req.compress = compress.ZSTD
		}
	}

	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		// As a server does: a GET can't change anything.
		if req.spec.readonly == "" || req.spec.readonly == "0" {
			req.spec.readonly = "2"
		}
		req.statement, err = parseStatement([]byte(query))
		if err == nil && req.kind == kindInsert {
			err = exceptionf(codeReadonly, "READONLY", "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. You should use method POST for modifying queries")
		}
		return req, err
	}

	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && media == "multipart/form-data" {
		return nil, exceptionf(codeNotImplemented, "NOT_IMPLEMENTED", "The embedded engine's HTTP front takes no multipart bodies (external tables)")
	}
	body, done, err := bodyReader(r, decompress, maxBodyBytes)
	if err != nil {
		return nil, err
	}
	req.done = done
	defer func() {
		if err != nil {
			done()
		}
	}()
	err = req.split(query, body)
	return req, err
}

// split finds the statement in the URL's query and the body, and what data
// there is behind it.
func (req *request) split(query string, body io.Reader) (err error) {
	if query != "" {
		if len(query) > maxQueryBytes {
			return errQueryTooLarge
		}
		// The server reads query, a line break, and the body as one text. An
		// INSERT in the URL needs no look into the body.
		text := append([]byte(query), '\n')
		if req.statement, err = parseStatement(text); err != nil {
			return err
		}
		if req.kind == kindInsert {
			req.data = body
			if len(bytes.TrimSpace(req.statement.data)) > 0 {
				req.data = io.MultiReader(bytes.NewReader(req.statement.data), body)
			}
			return nil
		}
		head, err := readHead(body)
		if err != nil {
			return err
		}
		if len(head) == 0 {
			return nil
		}
		return req.splitText(append(text, head...), body)
	}
	head, err := readHead(body)
	if err != nil {
		return err
	}
	return req.splitText(head, body)
}

// splitText parses a text that may run on into data, of which rest is what has
// not been read yet.
func (req *request) splitText(text []byte, rest io.Reader) (err error) {
	req.statement, err = parseStatement(text)
	if err != nil {
		return err
	}
	if req.kind == kindInsert {
		req.data = io.MultiReader(bytes.NewReader(req.statement.data), rest)
		return nil
	}
	if len(text) > maxQueryBytes {
		return errQueryTooLarge
	}
	return nil
}

var errQueryTooLarge = exceptionf(codeSyntaxError, "SYNTAX_ERROR", "Max query size exceeded (%d bytes)", maxQueryBytes)

// readHead reads as much of the body as a statement can take, and a byte more.
func readHead(body io.Reader) ([]byte, error) {
	head, err := io.ReadAll(io.LimitReader(body, maxQueryBytes+1))
	if err != nil {
		return nil, bodyError(err)
	}
	return head, nil
}

// bodyError puts a failure to read the body into ClickHouse's words.
func bodyError(err error) error {
	var exception *Exception
	if errors.As(err, &exception) {
		return exception
	}
	return exceptionf(codeCannotDecompress, "CANNOT_DECOMPRESS", "Cannot read the request's body: %v", err)
}

// parameters sorts the URL's parameters: the front's own, the statement's, and
// the rest, which are settings.
func (req *request) parameters(r *http.Request, values url.Values) (query string, decompress bool, err error) {
	req.spec.database = r.Header.Get("X-ClickHouse-Database")
	if format := r.Header.Get("X-ClickHouse-Format"); format != "" {
		req.format = format
	}
	for name, all := range values {
		if len(all) > 1 {
			return "", false, exceptionf(codeBadArguments, "BAD_ARGUMENTS", "Parameter %q is given %d times", name, len(all))
		}
		value := all[0]
		if parameter, ok := strings.CutPrefix(name, "param_"); ok {
			req.params = append(req.params, param{parameter, value})
			continue
		}
		switch name {
		case "query":
			query = value
		case "database":
			if value != "" {
				req.spec.database = value
			}
		case "default_format":
			if value != "" {
				req.format = value
			}
		case "query_id":
			req.queryID = value
		case "compress":
			if isOn(value) {
				req.compress = compress.LZ4
			}
		case "decompress":
			decompress = isOn(value)
		case "wait_end_of_query":
			req.whole = isOn(value)
		case "client_protocol_version":
			if req.revision, err = strconv.Atoi(value); err != nil || req.revision < 0 {
				return "", false, exceptionf(codeBadArguments, "BAD_ARGUMENTS", "client_protocol_version %q is not a number", value)
			}
		case "readonly":
			req.spec.readonly = value
		case "session_id":
			return "", false, exceptionf(codeNotImplemented, "NOT_IMPLEMENTED", "The embedded engine's HTTP front has no sessions")
		case "role":
			return "", false, exceptionf(codeNotImplemented, "NOT_IMPLEMENTED", "The embedded engine has no roles")
		case "user", "password", "quota_key", "buffer_size", "stacktrace", "session_timeout", "session_check", "close_session",
			"replace_running_query": // which is 0 here, whatever is asked for: see runningIDs
			if name == "replace_running_query" && isOn(value) {
				return "", false, exceptionf(codeNotImplemented, "NOT_IMPLEMENTED", "The embedded engine can't replace a running query")
			}
		default:
			if !isSettingName(name) {
				return "", false, exceptionf(codeUnknownSetting, "UNKNOWN_SETTING", "Unknown setting %q", name)
			}
			req.spec.settings = append(req.spec.settings, setting{name, value})
		}
	}
	slices.SortFunc(req.params, func(a, b param) int { return strings.Compare(a.name, b.name) })
	// The format's name becomes the engine's default format, not SQL; an odd one is an odd one.
	return query, decompress, nil
}

// authenticate accepts the one user there is, whose password is empty.
func (req *request) authenticate(r *http.Request, values url.Values) error {
	user, password, basic := r.BasicAuth()
	if !basic {
		user, password = r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	}
	if values.Has("user") {
		user = values.Get("user")
	}
	if values.Has("password") {
		password = values.Get("password")
	}
	if user != "" && user != "default" || password != "" {
		return exceptionf(codeAuthenticationFailed, "AUTHENTICATION_FAILED",
			"Authentication failed: the embedded engine has the user default without a password")
	}
	return nil
}

func settingValue(settings []setting, name string) string {
	for _, s := range settings {
		if s.name == name {
			return s.value
		}
	}
	return ""
}

func isOn(value string) bool {
	return value != "" && value != "0" && !strings.EqualFold(value, "false")
}

// isSettingName holds for names that are plain identifiers in SQL.
func isSettingName(name string) bool {
	if name == "" || isDigit(name[0]) || len(name) > 128 {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !isWord(c) || c >= 0x80 {
			return false
		}
	}
	return true
}

package clickhouse

import (
	"errors"
	"strings"

	clickhousego "github.com/ClickHouse/clickhouse-go/v2"
)

// Exception is an error that ClickHouse itself reported, with its code. It has
// ClickHouse's own name for it.
type Exception struct { //nolint:errname // ClickHouse's own term
	Code    int
	Message string
}

func (e *Exception) Error() string { return e.Message }

// The codes of exceptions that Agentmeter acts on, by ClickHouse's own names.
const (
	CodeUnknownTable        = 60
	CodeUnknownDatabase     = 81
	CodeTooManyRows         = 158 // more than max_rows_to_read
	CodeTimeoutExceeded     = 159
	CodeTooManyQueries      = 202 // TOO_MANY_SIMULTANEOUS_QUERIES
	CodeAlreadyRunning      = 216 // QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING: the mutex is held
	CodeMemoryLimitExceeded = 241
	CodeNotEnoughSpace      = 243 // for what does not fit into memory
	CodeNoServer            = 279 // ALL_CONNECTION_TRIES_FAILED, of a cluster's shard
	CodeThrowIf             = 395 // FUNCTION_THROW_IF_VALUE_IS_NON_ZERO: the guard refused
	CodeTooManyResultRows   = 396 // TOO_MANY_ROWS_OR_BYTES: more than max_result_rows
)

// ExceptionCode returns the code of the ClickHouse exception in err's chain,
// from either kind of call, or 0.
func ExceptionCode(err error) int {
	var own *Exception
	if errors.As(err, &own) {
		return own.Code
	}
	var driverError *clickhousego.Exception
	if errors.As(err, &driverError) {
		return int(driverError.Code)
	}
	// clickhouse-go's HTTP transport reports server errors as text.
	if err != nil {
		if _, after, found := strings.Cut(err.Error(), "Code: "); found {
			code := 0
			for i := 0; i < len(after) && after[i] >= '0' && after[i] <= '9'; i++ {
				code = code*10 + int(after[i]-'0')
			}
			return code
		}
	}
	return 0
}

// Refused reports whether the statement's guard (throwIf) refused it: the
// engine ran it and it changed nothing.
func Refused(err error) bool { return ExceptionCode(err) == CodeThrowIf }

package engine

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// ClickHouse's error codes that the front itself answers with or looks at.
const (
	codeBadArguments         = 36
	codeNotImplemented       = 48
	codeLogicalError         = 49
	codeSyntaxError          = 62
	codeCannotWriteToFile    = 75
	codeUnknownSetting       = 115
	codeReadonly             = 164
	codeTooManyStatements    = 202
	codeSocketTimeout        = 209
	codeAlreadyRunning       = 216 // QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING
	codeCannotDecompress     = 271
	codeInvalidSessionTime   = 374
	codeAborted              = 236
	codeAuthenticationFailed = 516
	codeBodyTooLarge         = 307 // TOO_MANY_BYTES
)

// Exception is an error in ClickHouse's own words.
type Exception struct { //nolint:errname // ClickHouse's and clickhouse-go's word
	// Code is ClickHouse's number of the error, 395 for a throwIf that threw.
	Code int
	// Text is the whole message: "Code: N. DB::Exception: … (NAME)".
	Text string
}

func (e *Exception) Error() string { return e.Text }

func exceptionf(code int, name, format string, args ...any) *Exception {
	return &Exception{Code: code, Text: fmt.Sprintf("Code: %d. DB::Exception: ", code) +
		fmt.Sprintf(format, args...) + " (" + name + ")"}
}

// parseException reads the code from the engine's text. A text without one is
// the engine's own misunderstanding and becomes a logical error.
func parseException(text string) *Exception {
	if rest, ok := strings.CutPrefix(text, "Code: "); ok {
		digits, _, _ := strings.Cut(rest, ".")
		if code, err := strconv.Atoi(digits); err == nil && code > 0 {
			return &Exception{Code: code, Text: text}
		}
	}
	return exceptionf(codeLogicalError, "LOGICAL_ERROR", "%s", text)
}

// status is the HTTP status that a ClickHouse server answers the error with.
func (e *Exception) status() int {
	switch e.Code {
	case 194:
		return http.StatusUnauthorized
	case 192, 193, 512, codeAuthenticationFailed:
		return http.StatusForbidden
	case 6, 8, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117, 167, 168, 223, 376, 427,
		456, 457, codeCannotDecompress:
		return http.StatusBadRequest
	case 46, 47, 50, 56, 60, 73, 81, 115:
		return http.StatusNotFound
	case codeBodyTooLarge:
		return http.StatusRequestEntityTooLarge
	case codeNotImplemented:
		return http.StatusNotImplemented
	case codeTooManyStatements, 439:
		return http.StatusServiceUnavailable
	case codeSocketTimeout:
		return http.StatusRequestTimeout
	}
	return http.StatusInternalServerError
}

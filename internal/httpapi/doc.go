// Package httpapi is what every HTTP face of Agentmeter shares: the router
// with its instruments, problem documents, health, and the server that drains.
//
// In flow requests, out flow answers that carry a trace id and, where
// something is wrong, an RFC 9457 problem document. One function, WriteError,
// maps an error to its status, body, metric and log line; an error that nobody
// foresaw says "internal error" outside and everything in the log.
//
// When things break: a panic ends one request with 500 and never the process;
// an answer that broke half way is cut off, so that nobody takes it for whole;
// connections, headers and waiting are bounded; readiness fails before the
// listener closes; and nothing listens beyond loopback without saying so.
package httpapi

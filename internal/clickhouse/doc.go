// Package clickhouse is how Agentmeter speaks to ClickHouse: a server, a
// cluster, or the embedded engine behind the same HTTP protocol, which it
// cannot tell apart.
//
// The statements that count (block inserts, reconciles, and the readings that
// decide between them) and those that answer questions go through Client.Exec and
// Client.Select, which add what counting exactly once needs: a query id that
// serves as the partition's mutex, bound parameters, explicit settings, Native
// bodies, and errors that tell "refused" from "unknown outcome". What stands around
// them, streams, the directory, progress and DDL, goes through clickhouse-go
// (Client.Conn).
package clickhouse

// Package tracing follows a request by OpenTelemetry from HTTP through the
// headers of Kafka's records to the insert into ClickHouse. It is off unless an
// address to send to is configured, and never decides what is counted.
package tracing

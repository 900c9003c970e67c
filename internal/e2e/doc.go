// Package e2e tests the whole product from outside: the built binary as real
// processes, spoken to over its command line, HTTP, Kafka's protocol and
// ClickHouse's, with real files, real signals and a real browser.
package e2e

// Package schemas holds every shape that Agentmeter's data takes: the domain
// types that all stages share, the records of the Kafka topics (usagev1), the
// HTTP contract (openapi.yaml and api) and the ClickHouse tables (clickhouse).
//
// It imports nothing else of Agentmeter, so that a shape can never depend on a
// stage. What it promises: credits are integers of millionths and no float
// comes near them; intervals are half-open and UTC; decode∘encode is the
// identity; and a value that passed Validate is accepted by every later stage.
package schemas

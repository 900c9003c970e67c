// Package monitoring holds what operators see: the dashboards, which are written
// to deploy/grafana/dashboards, and what connects metrics, rules, dashboards,
// runbooks and their documentation, so that tests can hold each to the others.
package monitoring

//go:generate go test . -run TestBoardsAreFresh -update

// Package eventclient sends usage events and directory changes to Agentmeter's
// write side, as the importer and the simulator do: the public package client
// with what commands need beyond it, domain events as JSON lines without
// allocation, and patience bounded by time instead of attempts. Requests, retries
// and errors are client's; there is no second policy here.
//
// A server that restarts may come back at another address, so the endpoint is
// asked for again before each retry.
package eventclient

// Package api holds the types and the Go client of Agentmeter's HTTP contract,
// generated from openapi.yaml. Programs use the client through the package
// agentmeter/client, which retries and understands problems. Its sub-packages
// ingestapi and queryapi hold the server interfaces of the write and the read
// side. Nothing here is written by hand but this comment: change openapi.yaml and
// generate again.
package api

//go:generate go tool -modfile=../../internal/tools/go.mod oapi-codegen -config models.cfg.yaml ../openapi.yaml
//go:generate go tool -modfile=../../internal/tools/go.mod oapi-codegen -config ingestapi.cfg.yaml ../openapi.yaml
//go:generate go tool -modfile=../../internal/tools/go.mod oapi-codegen -config queryapi.cfg.yaml ../openapi.yaml

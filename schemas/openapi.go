package schemas

import _ "embed"

// OpenAPI is the HTTP contract, openapi.yaml, as it is served.
//
//go:embed openapi.yaml
var OpenAPI []byte

// EventSchema is the JSON Schema of one event.
//
//go:embed event.schema.json
var EventSchema []byte

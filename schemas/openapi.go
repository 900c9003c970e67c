package schemas

import _ "embed"

// OpenAPI is the HTTP contract, openapi.yaml, as it is served.
//
//go:embed openapi.yaml
var OpenAPI []byte

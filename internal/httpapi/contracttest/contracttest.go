// Package contracttest holds recorded answers against openapi.yaml. In flow
// the exchanges of tests; a test fails where an answer has a status, a media
// type or a body that the contract does not know.
package contracttest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"go.yaml.in/yaml/v3"

	"agentmeter/schemas"
)

var contract = sync.OnceValues(func() (validator.Validator, error) {
	document, err := libopenapi.NewDocument(schemas.OpenAPI)
	if err != nil {
		return nil, err
	}
	v, faults := validator.NewValidator(document)
	if len(faults) > 0 {
		return nil, faults[0]
	}
	return v, nil
})

// mu serializes validation, which the validator does not promise to be safe
// from several goroutines.
var mu sync.Mutex

// Document fails the test where openapi.yaml itself is not valid.
func Document(t testing.TB) {
	t.Helper()
	v, err := contract()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	_, faults := v.ValidateDocument()
	for _, fault := range faults {
		t.Errorf("openapi.yaml: %v", fault)
	}
}

// Check fails the test where the answer is not one of the contract's. The
// answer's body can be read again afterwards.
func Check(t testing.TB, request *http.Request, answer *http.Response) {
	t.Helper()
	v, err := contract()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	// The validator looks at method, path and media type of the request only.
	asked := httptest.NewRequestWithContext(request.Context(), request.Method, request.URL.RequestURI(), http.NoBody)
	if mediaType := request.Header.Get("Content-Type"); mediaType != "" {
		asked.Header.Set("Content-Type", mediaType)
	}
	answered := *answer
	answered.Body = io.NopCloser(bytes.NewReader(body))
	mu.Lock()
	defer mu.Unlock()
	_, faults := v.ValidateHttpResponse(asked, &answered)
	for _, fault := range faults {
		reasons := []string{fault.Message, fault.Reason}
		for _, detail := range fault.SchemaValidationErrors {
			reasons = append(reasons, detail.FieldPath+": "+detail.Reason)
		}
		t.Errorf("%s %s answered %d: %s\n%s", request.Method, request.URL.Path, answer.StatusCode, strings.Join(reasons, "; "), body)
	}
}

// Routes maps "METHOD /path" of openapi.yaml to the scopes that it names, such as
// "bearerAuth usage:read": nil for public routes.
func Routes(t testing.TB) map[string][]string {
	t.Helper()
	var document struct {
		Security []map[string][]string
		Paths    map[string]map[string]yaml.Node
	}
	if err := yaml.Unmarshal(schemas.OpenAPI, &document); err != nil {
		t.Fatal(err)
	}
	routes := map[string][]string{}
	for path, operations := range document.Paths {
		for method, node := range operations {
			if method == "parameters" {
				continue
			}
			var operation struct{ Security *[]map[string][]string }
			if err := node.Decode(&operation); err != nil {
				t.Fatal(err)
			}
			if operation.Security == nil {
				t.Fatalf("%s %s names no security of its own", method, path)
			}
			var scopes []string
			for _, way := range *operation.Security {
				for scheme, needs := range way {
					for _, scope := range needs {
						scopes = append(scopes, scheme+" "+scope)
					}
				}
				if len(way) == 0 {
					scopes = append(scopes, "none")
				}
			}
			routes[strings.ToUpper(method)+" "+path] = scopes
		}
	}
	return routes
}

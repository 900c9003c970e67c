package ingest

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"agentmeter/schemas"
)

func TestTheEventSchemaAgreesWithWhatIsAccepted(t *testing.T) {
	t.Parallel()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemas.EventSchema))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("event.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("event.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	// What no schema can say: the calendar, today's date, and numbers whose
	// exactness JSON Schema does not know.
	beyond := []string{
		"31 February", "25 hours", "before all time", "too old", "in the future", "offset of a day", "offset of 60 minutes",
		"seven decimals as a number", "too many credits", "half a message",
	}
	for _, tt := range eventCases() {
		if tt.name == "an endless exponent" {
			continue // the validator would write the number out
		}
		instance, err := jsonschema.UnmarshalJSON(strings.NewReader(eventJSON(tt.edit)))
		if err != nil {
			t.Fatal(err)
		}
		err = schema.Validate(instance)
		if accepted := tt.code == ""; accepted != (err == nil) && !slices.Contains(beyond, tt.name) {
			t.Errorf("%s: accepted %v, the schema says %v", tt.name, accepted, err)
		}
	}
}

func TestTheContractAndTheEventSchemaHaveTheSameMembers(t *testing.T) {
	t.Parallel()
	type object struct {
		Required   []string       `json:"required" yaml:"required"`
		Properties map[string]any `json:"properties" yaml:"properties"`
	}
	var schema object
	if err := json.Unmarshal(schemas.EventSchema, &schema); err != nil {
		t.Fatal(err)
	}
	var contract struct {
		Components struct{ Schemas map[string]yaml.Node }
	}
	if err := yaml.Unmarshal(schemas.OpenAPI, &contract); err != nil {
		t.Fatal(err)
	}
	node := contract.Components.Schemas["Event"]
	var event object
	if err := node.Decode(&event); err != nil {
		t.Fatal(err)
	}
	names := func(o object) []string {
		var all []string
		for name := range o.Properties {
			all = append(all, name)
		}
		slices.Sort(all)
		return all
	}
	if got, want := names(event), names(schema); !slices.Equal(got, want) || !slices.Equal(event.Required, schema.Required) {
		t.Errorf("openapi.yaml has %v (required %v), event.schema.json %v (required %v)", got, event.Required, want, schema.Required)
	}
}

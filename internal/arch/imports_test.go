package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "agentmeter/"

// rule says what of ours a package may import, tests aside, and why it exists.
type rule struct {
	imports []string // exact, or a folder ending in /
	why     string
}

// rules is complete: every package of the module has its line.
var rules = map[string]rule{
	// Shapes. They import nothing of ours but other shapes.
	"schemas":               {[]string{"schemas/usagev1"}, "the domain types that all stages share"},
	"schemas/usagev1":       {nil, "generated protobuf records"},
	"schemas/clickhouse":    {[]string{"schemas"}, "the migrations and the rollups' names"},
	"schemas/api":           {[]string{"schemas"}, "generated types and client of the HTTP contract"},
	"schemas/api/ingestapi": {[]string{"schemas/api"}, "generated routes of the write side"},
	"schemas/api/queryapi":  {[]string{"schemas/api"}, "generated routes of the read side"},

	// For other people's programs, so it stands on shapes alone.
	"client":                   {[]string{"schemas", "schemas/"}, "speaks to the HTTP API: retries, problems, iterators; its low-level part is schemas/api, its one domain type the CSV's cell"},
	"client/examples/embed":    {[]string{"client"}, "a platform's app that shows the page in a frame, to be read and copied"},
	"client/examples/producer": {[]string{"schemas/usagev1"}, "a platform's service that writes straight to Kafka, to be read and copied"},
	"client/examples/send":     {[]string{"client", "schemas", "schemas/api"}, "the least program that sends an event, to be read and copied"},

	// What stages stand on. None of them knows a stage.
	"internal/pause":                       {nil, "a wait that a context may end"},
	"internal/kafka":                       {[]string{"internal/pause"}, "how to speak to Kafka"},
	"internal/certtest":                    {nil, "gives tests an authority and certificates"},
	"internal/kafka/kafkatest":             {[]string{"internal/certtest", "internal/freeaddress"}, "gives tests a real Apache Kafka"},
	"internal/tracing":                     {nil, "follows a request by OpenTelemetry, off by default"},
	"internal/clickhouse":                  {[]string{"schemas", "schemas/", "internal/pause", "internal/tracing"}, "how to speak to ClickHouse"},
	"internal/clickhouse/clickhousetest":   {[]string{"schemas/clickhouse", "internal/embedded/enginetest"}, "gives tests what of a cluster an embedded engine can be"},
	"internal/clickhouse/schematest":       {[]string{"schemas/clickhouse", "internal/clickhouse", "internal/embedded/enginetest"}, "gives tests the schema on the real engine"},
	"internal/slowtest":                    {nil, "names the tests that take long, which go test alone leaves out"},
	"internal/httpapi":                     {[]string{"schemas", "schemas/", "internal/tracing"}, "the HTTP edge: problems, limits, health, drain"},
	"internal/httpapi/contracttest":        {[]string{"schemas"}, "holds recorded answers to the contract, for tests"},
	"internal/auth":                        {[]string{"schemas", "schemas/", "internal/httpapi"}, "who may do what"},
	"internal/auth/authtest":               {nil, "tokens that must not pass, for tests"},
	"internal/fair":                        {nil, "shares out a capacity between parties that contend for it"},
	"internal/lifecycle":                   {nil, "stages start in order and stop in reverse"},
	"internal/fault":                       {nil, "names the steps of counting, where test builds strike"},
	"internal/audit":                       {[]string{"schemas", "schemas/clickhouse", "internal/clickhouse", "internal/kafka", "internal/pause"}, "the proof, used by the command, and beside the rollup for its gauges"},
	"internal/simulate":                    {[]string{"schemas", "schemas/", "internal/eventclient"}, "seeded traffic for demos, soak and benches"},
	"internal/eventclient":                 {[]string{"schemas", "schemas/", "client"}, "the client as import and simulate use it: domain events, patience by time"},
	"internal/eventclient/eventclienttest": {[]string{"schemas", "schemas/"}, "a write side with faults, for tests of what posts to one"},
	"internal/deadletters":                 {[]string{"schemas", "schemas/", "internal/kafka"}, "what could not be counted, and the way back"},
	"internal/importer":                    {[]string{"internal/eventclient"}, "files to events, resumable"},

	// Stages never import one another.
	"ingest":         {[]string{"schemas", "schemas/", "internal/kafka", "internal/httpapi", "internal/auth", "internal/fair", "internal/fault", "internal/tracing"}, "HTTP in, Kafka out"},
	"rollup":         {[]string{"schemas", "schemas/", "internal/kafka", "internal/clickhouse", "internal/fault", "internal/pause", "internal/tracing"}, "Kafka in, ClickHouse out"},
	"rollup/model":   {nil, "the counting protocol as a finite model, with its checker"},
	"query":          {[]string{"schemas", "schemas/", "internal/clickhouse", "internal/httpapi", "internal/auth", "internal/fair", "internal/pause", "query/"}, "ClickHouse in, HTTP out"},
	"query/calendar": {[]string{"schemas"}, "ranges, bars and billing periods in IANA zones"},
	"query/tiers":    {[]string{"schemas"}, "which rollup answers which part of a range"},
	"query/page":     {[]string{"schemas/api", "internal/httpapi"}, "the dashboard's committed build, and the pages that need no script"},

	// The embedded mode is another wiring; only cmd knows it.
	"internal/embedded/chdb":            {nil, "where the engine's library is and how it gets there"},
	"internal/embedded/dirlock":         {nil, "a data directory for one process at a time"},
	"internal/embedded/engine":          {[]string{"internal/embedded/chdb", "internal/embedded/dirlock", "internal/fault"}, "ClickHouse in a child process behind its own HTTP protocol"},
	"internal/embedded/broker":          {[]string{"internal/embedded/dirlock", "internal/fault"}, "a broker in process, by Kafka's own protocol"},
	"internal/embedded/enginetest":      {[]string{"internal/embedded/", "internal/slowtest"}, "gives tests the real engine"},
	"internal/embedded/cmd/fetchengine": {[]string{"internal/embedded/chdb"}, "fetches the engine's library at set-up"},
	"cmd/agentmeter":                    {[]string{""}, "flags and environment to stages; knows every package"},

	"internal/freeaddress":        {nil, "addresses for processes that tests start, stop and start again"},
	"internal/processes":          {nil, "what the system tells of processes that tests start"},
	"internal/monitoring":         {nil, "the dashboards, and what holds metrics, rules, runbooks and their documentation to one another"},
	"internal/bench":              {nil, "runs the benches that have a goal, and says whether it is met"},
	"internal/crash":              {[]string{"schemas", "schemas/", "internal/kafka", "internal/kafka/kafkatest", "internal/fault", "internal/freeaddress", "internal/pause", "internal/processes"}, "kills everything that counts, and proves that nothing was lost or doubled by it"},
	"internal/crash/cmd/crash":    {[]string{"internal/crash"}, "its command"},
	"internal/crash/cmd/overload": {[]string{"internal/crash"}, "its command that brings more load than can be served"},
	"internal/crash/cmd/soak":     {[]string{"internal/crash"}, "its command for a long run that looks for growth"},

	"internal/arch": {nil, "these rules"},
	"internal/e2e":  {nil, "the whole product, from outside"},
}

type listed struct {
	ImportPath string   `json:"ImportPath"`
	Imports    []string `json:"Imports"`
	Dir        string   `json:"Dir"`
	GoFiles    []string `json:"GoFiles"`
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,Dir,GoFiles", "agentmeter/...")
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func (r rule) allows(path string) bool {
	return slices.ContainsFunc(r.imports, func(allowed string) bool { return covers(allowed, path) })
}

func covers(allowed, path string) bool {
	return path == allowed || allowed == "" || strings.HasSuffix(allowed, "/") && strings.HasPrefix(path, allowed)
}

func TestImportsPointOneWay(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		seen[name] = true
		rule, ok := rules[name]
		if !ok {
			t.Errorf("%s has no line in the table of import rules; give it one, with the reason why it exists", name)
			continue
		}
		used := make(map[string]bool)
		for _, path := range p.Imports {
			ours, ok := strings.CutPrefix(path, module)
			if ok && !rule.allows(ours) {
				t.Errorf("%s imports %s, which its line does not allow (it is: %s)", name, ours, rule.why)
			}
			for _, allowed := range rule.imports {
				used[allowed] = used[allowed] || ok && covers(allowed, ours)
			}
		}
		for _, allowed := range rule.imports {
			if !used[allowed] {
				t.Errorf("%s may import %s and does not; take it out of its line", name, allowed)
			}
		}
	}
	for name := range rules {
		if !seen[name] {
			t.Errorf("the table has a line for %s, which is no package any more; delete the line", name)
		}
	}
}

func TestNoPackageIsNamedAfterNothing(t *testing.T) {
	for _, p := range listPackages(t) {
		last := p.ImportPath[strings.LastIndex(p.ImportPath, "/")+1:]
		if slices.Contains([]string{"util", "utils", "common", "helpers", "models", "misc", "shared"}, last) {
			t.Errorf("%s: a package is named after what it holds", p.ImportPath)
		}
	}
}

// A listener without bounds is held up by anybody who sends slowly, so HTTP servers
// are made in one place, which has them all.
func TestHTTPServersAreMadeWithTheirBounds(t *testing.T) {
	makers := map[string]string{
		"internal/httpapi":         "every listener of the product",
		"internal/embedded/engine": "ClickHouse's protocol, on loopback alone",
		"internal/crash":           "the harness's own proxy",
		"client/examples/embed":    "somebody else's program",
	}
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, file := range p.GoFiles {
			content, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if makers[name] == "" && strings.Contains(string(content), "http.Server{") || strings.Contains(string(content), "http.ListenAndServe") {
				t.Errorf("%s/%s makes an HTTP server of its own; use httpapi.Listen", name, file)
			}
		}
	}
}

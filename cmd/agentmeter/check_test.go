package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// attempt runs a command line that starts nothing: whatever would serve is told to stop
// before it begins.
func attempt(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var stdout, stderr bytes.Buffer
	code = run(ctx, args, strings.NewReader(""), &stdout, &stderr)
	if stdout.Len() > 0 {
		t.Errorf("%v printed as a result: %s", args, &stdout)
	}
	return code, stderr.String()
}

var flagInText = regexp.MustCompile(`--[a-z][a-z-]*`)

// foreignFlags are those that a command speaks of and does not have.
func foreignFlags(node *kong.Node, said string) (foreign []string) {
	for _, flag := range flagInText.FindAllString(said, -1) {
		if flag != "--help" && !slices.ContainsFunc(node.Flags, func(f *kong.Flag) bool { return "--"+f.Name == flag }) {
			foreign = append(foreign, flag)
		}
	}
	return foreign
}

// argsOf is a command with whatever it needs, on a data directory that is not there.
func argsOf(t *testing.T, node *kong.Node, but string) []string {
	t.Helper()
	args := strings.Fields(node.FullPath())[1:]
	for _, flag := range node.Flags {
		switch {
		case flag.Name == but:
		case flag.Name == "data-dir":
			args = append(args, "--data-dir", filepath.Join(t.TempDir(), "data"))
		case flag.Required && flag.Name == "scope":
			args = append(args, "--scope", "usage:read")
		case flag.Required:
			args = append(args, "--"+flag.Name, "1")
		}
	}
	switch node.FullPath() {
	case "agentmeter import":
		args = append(args, "none.ndjson")
	case "agentmeter deadletter show", "agentmeter deadletter replay":
		args = append(args, "1")
	case "agentmeter erase":
		args = append(args, "--workspace", "ws_a")
	}
	return args
}

func TestHelpShowsEachDefault(t *testing.T) {
	for _, node := range commands(t) {
		if len(node.Children) > 0 {
			continue
		}
		var help bytes.Buffer
		if code := run(t.Context(), append(strings.Fields(node.FullPath())[1:], "--help"), nil, &help, &help); code != exitOK {
			t.Fatalf("%s --help: exit status %d", node.FullPath(), code)
		}
		text := strings.Join(strings.Fields(help.String()), " ")
		for _, flag := range node.Flags {
			if !flag.HasDefault || flag.Default == "" {
				continue
			}
			_, of, found := strings.Cut(text, " --"+flag.Name+"=")
			of, _, _ = strings.Cut(of, " --")
			fallback := flag.Default
			if fallback == "${event_partitions=4}" {
				fallback = "4"
				if node.Name == "run" || node.Name == "broker" {
					fallback = "2"
				}
			}
			shown := strings.HasPrefix(of, fallback+" ") || strings.HasPrefix(of, `"`+fallback+`" `) || strings.Contains(of, "Default: "+fallback+" ($")
			if !found || !shown {
				t.Errorf("%s --help does not show that the default of --%s is %s: %s", node.FullPath(), flag.Name, fallback, of)
			}
		}
	}
}

// A number below all that a flag takes is refused under the flag's name, and before
// there is so much as a data directory.
func TestNumbersThatCannotBeAreRefusedBeforeAnythingStarts(t *testing.T) {
	tried := 0
	for _, node := range commands(t) {
		if len(node.Children) > 0 {
			continue
		}
		for _, flag := range node.Flags {
			value := "-1"
			switch kind := flag.Target.Kind(); {
			case flag.Target.Type() == reflect.TypeFor[time.Duration]():
				value = "-1s"
			case flag.Name == "replication":
				value = "-2" // -1 leaves it to the brokers
			case kind < reflect.Int || kind > reflect.Float64:
				continue
			}
			tried++
			args := argsOf(t, node, flag.Name)
			code, said := attempt(t, append(args, "--"+flag.Name+"="+value)...)
			if code != exitUnclear || !namesFlag(said, flag.Name) {
				t.Errorf("%s --%s=%s: exit status %d: %s", node.FullPath(), flag.Name, value, code, said)
			}
			if foreign := foreignFlags(node, said); len(foreign) > 0 {
				t.Errorf("%s --%s=%s speaks of %v, which it does not have: %s", node.FullPath(), flag.Name, value, foreign, said)
			}
			for i, arg := range args {
				if arg != "--data-dir" {
					continue
				}
				if _, err := os.Stat(args[i+1]); err == nil {
					t.Errorf("%s --%s=%s: the data directory was made", node.FullPath(), flag.Name, value)
				}
			}
		}
	}
	if tried < 60 {
		t.Errorf("only %d flags were tried", tried)
	}
}

func TestMisuseIsFoundBeforeAnythingStarts(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	empty, text := filepath.Join(dir, "empty"), filepath.Join(dir, "text")
	for name, content := range map[string]string{empty: "", text: "no key at all"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	nodes := make(map[string]*kong.Node)
	for _, node := range commands(t) {
		nodes[node.FullPath()] = node
	}
	const servers = "run ingest query rollup"
	for _, test := range []struct {
		commands, args string
		want           []string
	}{
		{servers, "--http-listen 8080", []string{`--http-listen: "8080" is not of the form HOST:PORT`}},
		{servers, "--http-listen 127.0.0.1:99999", []string{"--http-listen: "}},
		{servers, "--metrics-listen nowhere", []string{"--metrics-listen: "}},
		{servers, "--http-max-conns 0", []string{"--http-max-conns: 0 is not positive"}},
		{servers, "--trusted-proxies 10.0.0.0/99", []string{"--trusted-proxies: "}},
		{servers, "--tls-cert none.pem", []string{"--tls-cert and --tls-key go together"}},
		{servers, "--tls-cert none.pem --tls-key none.key", []string{"--tls-cert: "}},
		{servers, "--metrics-client-ca none.pem", []string{"--metrics-client-ca is about a metrics listener"}},
		{servers, "--token-key-file " + text, []string{"--token-key-file: "}},
		{servers, "--token-key-file " + filepath.Join(dir, "none", "access.key"), []string{"--token-key-file: "}},
		{servers, "--jwks-url https://id.example.com/keys", []string{"--jwks-issuer: is required", "--jwks-audience: is required"}},
		{servers, "--jwks-issuer platform", []string{"give --jwks-url or --jwks-file, too"}},
		{servers, "--jwks-file " + text + " --jwks-issuer i --jwks-audience a", []string{"--jwks-file: "}},
		{servers, "--page-url usage.example.com", []string{`--page-url: "usage.example.com" is not an http or https URL`}},
		{servers, "--page-url http://usage.example.com --page-embed https://app.example.com", []string{"--page-url: ", "--page-embed"}},
		{servers, "--page-embed *", []string{`--page-embed: "*" is no origin`}},
		{servers, "--page-embed https://*", []string{"is everybody"}},
		{servers, "--page-embed http://app.example.com", []string{"is not reached by https"}},
		{servers, "--session-ttl 0s", []string{"--session-ttl: 0s is not between 1s and 720h"}},
		{servers, "--trace-endpoint collector:4318", []string{"--trace-endpoint: "}},
		{servers, "--trace-endpoint http://collector:4318 --trace-sample 2", []string{"--trace-sample: 2"}},
		{"run ingest", "--max-body-bytes 10 --max-events 0 --max-event-age 0s", []string{"--max-body-bytes: 10", "--max-events: 0", "--max-event-age: 0s"}},
		{"run ingest", "--max-body-bytes 1000000000", []string{"--max-in-flight-bytes: 201326592 is less than four times --max-body-bytes"}},
		{"run ingest", "--max-turn-bytes 1", []string{"--max-turn-bytes: 1"}},
		{"run ingest", "--conversation-key-file " + empty, []string{"--conversation-key-file: ", "is empty"}},
		{"run rollup", "--block-rows 0 --block-linger 0s --statement-timeout 0s --drain-timeout 0s", []string{"--block-rows: 0", "--block-linger: 0s", "--statement-timeout: 0s", "--drain-timeout: 0s"}},
		{"run query", "--query-concurrency 0 --query-timeout 0s", []string{"--query-concurrency: 0 is not positive", "--query-timeout: 0s is not positive"}},
		{"run query", "--page-accent blue", []string{"--page-accent: "}},
		{"run", "--kafka-listen 0.0.0.0:9092", []string{`--kafka-listen: "0.0.0.0:9092" is not a loopback address`}},
		{"run engine", "--clickhouse-listen 10.0.0.1:8123", []string{`--clickhouse-listen: "10.0.0.1:8123" is not a loopback address`}},
		{"engine", "--clickhouse-listen %", []string{"--clickhouse-listen: "}},
		{"run engine", "--engine-memory 1000", []string{"--engine-memory: 1000 bytes"}},
		{"run engine", "--engine-memory 0", []string{"--engine-memory: 0"}},
		{"run engine", "--engine-library none.so --engine-config none.xml", []string{"--engine-library: ", "--engine-config: "}},
		{"run migrate broker", "--event-partitions 0 --event-retention 1m", []string{"--event-partitions: 0", "--event-retention: 1m0s"}},
		{"migrate broker", "--replication 1 --min-insync-replicas 2", []string{"--min-insync-replicas: 2", "--replication 1"}},
		{"ingest rollup migrate", "--kafka nonsense", []string{`--kafka: "nonsense" is not of the form HOST:PORT`}},
		{"ingest rollup migrate", "--kafka-ca ca.pem", []string{"give --kafka-tls, too"}},
		{"ingest rollup migrate", "--kafka-sasl PLAIN --kafka-user u --kafka-password-file " + empty, []string{"--kafka-password-file: ", "is empty"}},
		{"query rollup migrate", "--clickhouse localhost:8123", []string{"--clickhouse: "}},
		{"query rollup migrate", "--clickhouse-password-file none", []string{"--clickhouse-password-file: "}},
		{"query rollup migrate", "--clickhouse-cluster a/b", []string{`--clickhouse-cluster: "a/b"`}},
		{"query rollup migrate", "--clickhouse-shards http://a:8123", []string{"--clickhouse-cluster, too"}},
		{"audit rebuild adopt-topic", "--kafka 127.0.0.1:9092", []string{"--clickhouse and --kafka go together"}},
		{"audit rebuild adopt-topic", "--kafka-tls", []string{"give --kafka and --clickhouse, too"}},
		{"audit rebuild adopt-topic", "--clickhouse-cluster c", []string{"give --kafka and --clickhouse, too"}},
		{"audit", "--ingest-metrics ingest-1:9464", []string{"--ingest-metrics: "}},
		{"audit", "--ingest-metrics-token-file " + text, []string{"is for --ingest-metrics; give that, too"}},
		{"rebuild", "--tier week", []string{"--tier: "}},
		{"erase", "--workspace ws_a --again", []string{"give one of --workspace, --again and --list"}},
		{"deadletter_list", "--code wrong_partiton", []string{`--code: "wrong_partiton" is none of agent_id_invalid, `, "payload_conflict", "wrong_partition"}},
		{"deadletter_replay", "--code nonsense", []string{`--code: "nonsense" is none of `}},
		{"deadletter_replay", "", []string{"name letters, or select some by --code, --since or --all"}},
		{"import", "none.ndjson --batch-events 10001 --in-flight 0", []string{"--batch-events: 10001 is not between 1 and 10000", "--in-flight: 0 is not between 1 and 64"}},
		{"import", "none.ndjson --url http://127.0.0.1:1", []string{"--url needs --token-file"}},
		{"import", "none.ndjson --url http://127.0.0.1:1 --token-file " + empty, []string{"--token-file: ", "is empty"}},
		{"import", "none.ndjson --url 127.0.0.1:8080 --token-file " + text, []string{"--url: "}},
		{"import", "none.ndjson --token-file " + text, []string{"--token-file is for --url"}},
		{"simulate", "--workspace * --rate 0", []string{`--workspace: "*" stands for every workspace`, "--rate: 0"}},
		{"token", "--workspace ws_a", []string{"missing flags: --scope=SCOPES", "--scope can be given by the environment, too, as AGENTMETER_SCOPE", "agentmeter token --help"}},
		{"token", "--workspace ws_a --scope usage:write --ttl 0s", []string{"--scope: ", "--ttl: 0s is not positive"}},
		{"link", "--workspace *", []string{"--workspace: "}},
		{"rotate-key", "--token-key-file " + text, []string{"--token-key-file: "}},
		{"health", "--url localhost --timeout 0s", []string{"--url: ", "--timeout: 0s is not positive"}},
	} {
		for command := range strings.FieldsSeq(test.commands) {
			node := nodes["agentmeter "+strings.ReplaceAll(command, "_", " ")]
			args := append(strings.Split(command, "_"), strings.Fields(test.args)...)
			if command != "import" && command != "migrate" && command != "health" {
				args = append(args, "--data-dir", data)
			}
			code, said := attempt(t, args...)
			if code != exitUnclear {
				t.Errorf("%v: exit status %d, want %d: %s", args, code, exitUnclear, said)
			}
			for _, want := range test.want {
				if !strings.Contains(said, want) {
					t.Errorf("%v does not say %q: %s", args, want, said)
				}
			}
			if foreign := foreignFlags(node, said); len(foreign) > 0 {
				t.Errorf("%v speaks of %v, which it does not have: %s", args, foreign, said)
			}
			if _, err := os.Stat(data); err == nil {
				t.Fatalf("%v: something was made on the data directory", args)
			}
		}
	}
}

func TestAVariableThatIsWrongIsNamed(t *testing.T) {
	t.Setenv("AGENTMETER_BLOCK_ROWS", "0")
	t.Setenv("AGENTMETER_LOG_LEVEL", "loud")
	_, said := attempt(t, "rollup", "--log-level", "info", "--hot-ids=-1")
	if want := "--block-rows was given by the environment, as AGENTMETER_BLOCK_ROWS\n"; !strings.Contains(said, want) {
		t.Errorf("it does not say %q: %s", want, said)
	}
	if strings.Contains(said, "HOT_IDS") || strings.Contains(said, "LOG_LEVEL") {
		t.Errorf("it names what was given by flags: %s", said)
	}
	code, said := attempt(t, "rollup")
	if want := "--log-level was given by the environment, as AGENTMETER_LOG_LEVEL\n"; code != exitUnclear || !strings.Contains(said, want) {
		t.Errorf("exit status %d; it does not say %q: %s", code, want, said)
	}
}

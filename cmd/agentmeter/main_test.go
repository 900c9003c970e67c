package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/embedded/chdb"
	"agentmeter/internal/embedded/enginetest"
	"agentmeter/internal/freeaddress"
	"agentmeter/internal/kafka"
	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
)

func TestMain(m *testing.M) {
	// The engine is a child of the program's own, which here is this binary.
	if len(os.Args) > 1 && os.Args[1] == "engine-host" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	testscript.Main(m, map[string]func(){
		"agentmeter": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

func TestCommandsDoWhatTheirScriptsSay(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: withEngine, Cmds: scriptCommands})
}

// The operator's commands, against a real instance.
func TestRepairsDoWhatTheirScriptsSay(t *testing.T) {
	enginetest.Require(t)
	testscript.Run(t, testscript.Params{Dir: "testdata/repairs", Setup: withEngine, Cmds: scriptCommands})
}

// Those that take whole histories of an instance.
func TestLongRepairsDoWhatTheirScriptsSay(t *testing.T) {
	slowtest.Begin(t)
	testscript.Run(t, testscript.Params{Dir: "testdata/repairs_slow", Setup: withEngine, Cmds: scriptCommands})
}

// withEngine tells scripts, whose home is elsewhere, where the library is.
func withEngine(env *testscript.Env) error {
	if library, err := chdb.Find(""); err == nil {
		env.Setenv(chdb.PathVariable, library)
	}
	return nil
}

// scriptCommands are what scripts can do beside running the program.
var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"ready":       scriptReady,
	"engine":      scriptEngine,
	"counted":     scriptCounted,
	"recreate":    scriptRecreate,
	"adopt":       scriptAdopt,
	"misproduce":  scriptMisproduce,
	"notmigrated": scriptNotMigrated,
	"migrate":     scriptMigrate,
	"freeaddress": scriptFreeAddress,
	"readyz":      scriptReadyz,
}

// scriptReady waits until an instance runs on the data directory: ready DIR.
func scriptReady(ts *testscript.TestScript, _ bool, args []string) {
	dir := dataDir(ts.MkAbs(args[0]))
	eventually(ts, func() error {
		_, err := dir.readEndpoints()
		return err
	})
}

// scriptEngine puts SQL to the engine of a running instance: engine DIR SQL.
func scriptEngine(ts *testscript.TestScript, _ bool, args []string) {
	answer, err := askEngine(dataDir(ts.MkAbs(args[0])), args[1])
	ts.Check(err)
	_, err = io.WriteString(ts.Stdout(), answer)
	ts.Check(err)
}

// scriptCounted waits until a number of records are confirmed, views included:
// counted DIR N.
func scriptCounted(ts *testscript.TestScript, _ bool, args []string) {
	dir := dataDir(ts.MkAbs(args[0]))
	eventually(ts, func() error {
		answer, err := askEngine(dir, "SELECT sum(position) FROM rollup_progress FINAL WHERE stream = (SELECT stream FROM usage_streams ORDER BY adopted_at DESC LIMIT 1)")
		if err == nil && strings.TrimSpace(answer) != args[1] {
			err = fmt.Errorf("%s records are counted, want %s", strings.TrimSpace(answer), args[1])
		}
		return err
	})
}

// scriptRecreate deletes the events topic of a running instance and makes it
// again: recreate DIR.
func scriptRecreate(ts *testscript.TestScript, _ bool, args []string) {
	where, err := dataDir(ts.MkAbs(args[0])).readEndpoints()
	ts.Check(err)
	client, err := kgo.NewClient(kgo.SeedBrokers(where.Kafka))
	ts.Check(err)
	defer client.Close()
	admin := kadm.NewClient(client)
	_, err = admin.DeleteTopic(context.Background(), kafka.TopicEvents)
	ts.Check(err)
	_, err = kafka.EnsureTopics(context.Background(), admin, kafka.DefaultPlan())
	ts.Check(err)
}

// scriptAdopt adopts the topic that is there, as agentmeter adopt-topic says:
// adopt DIR.
func scriptAdopt(ts *testscript.TestScript, _ bool, args []string) {
	var printed bytes.Buffer
	dir := ts.MkAbs(args[0])
	run(context.Background(), []string{"adopt-topic", "--data-dir", dir}, nil, &printed, io.Discard)
	_, id, found := strings.Cut(printed.String(), "adopt-topic --id ")
	if !found {
		ts.Fatalf("it names no topic to adopt: %s", &printed)
	}
	if code := run(context.Background(), []string{"adopt-topic", "--data-dir", dir, "--id", strings.TrimSpace(id)}, nil, ts.Stdout(), ts.Stderr()); code != exitOK {
		ts.Fatalf("exit status %d", code)
	}
}

// scriptMisproduce sends an event to a partition that is not its own, and then
// what is no event at all: misproduce DIR.
func scriptMisproduce(ts *testscript.TestScript, _ bool, args []string) {
	where, err := dataDir(ts.MkAbs(args[0])).readEndpoints()
	ts.Check(err)
	client, err := kgo.NewClient(kgo.SeedBrokers(where.Kafka), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ts.Check(err)
	defer client.Close()
	event := schemas.Event{
		ID: "e1", Workspace: "ws_a", Agent: "agt_1", Channel: "embed", Credits: 1_500_000, Messages: 1,
		OccurredAt: time.Date(2026, 11, 24, 9, 31, 47, 0, time.UTC),
	}
	partitions := kafka.DefaultPlan().EventPartitions
	wrong := (schemas.PartitionOf(schemas.RecordKey(event.Workspace, event.ID), partitions) + 1) % partitions
	for _, value := range [][]byte{schemas.EncodeEvent(nil, &event), []byte("\x1b[31mred")} {
		ts.Check(client.ProduceSync(context.Background(), &kgo.Record{Topic: kafka.TopicEvents, Partition: wrong, Value: value}).FirstErr())
	}
}

// scriptNotMigrated audits a database that has no tables, and prints what that
// says: notmigrated DIR.
func scriptNotMigrated(ts *testscript.TestScript, _ bool, args []string) {
	where, err := dataDir(ts.MkAbs(args[0])).readEndpoints()
	ts.Check(err)
	code := run(context.Background(), []string{"audit", "--kafka", where.Kafka, "--clickhouse", where.ClickHouse, "--clickhouse-database", "default"}, nil, io.Discard, ts.Stdout())
	if code != exitUnclear {
		ts.Fatalf("exit status %d, want %d", code, exitUnclear)
	}
}

// scriptMigrate migrates the engines of a running instance: migrate DIR FLAG….
func scriptMigrate(ts *testscript.TestScript, _ bool, args []string) {
	where, err := dataDir(ts.MkAbs(args[0])).readEndpoints()
	ts.Check(err)
	ts.Check(ts.Exec("agentmeter", append([]string{"migrate", "--kafka", where.Kafka, "--clickhouse", where.ClickHouse}, args[1:]...)...))
}

// scriptFreeAddress puts an address that nobody listens on into a variable:
// freeaddress NAME.
func scriptFreeAddress(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], freeaddress.Find(rand.IntN))
}

// scriptReadyz waits until /readyz says yes, when the addresses must be there:
// readyz DIR ADDRESS.
func scriptReadyz(ts *testscript.TestScript, _ bool, args []string) {
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport}
	deadline := time.Now().Add(time.Minute)
	for {
		response, err := client.Get("http://" + args[1] + "/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("it is not ready: %v", err)
		}
	}
	_, err := dataDir(ts.MkAbs(args[0])).readEndpoints()
	ts.Check(err)
}

func askEngine(dir dataDir, sql string) (string, error) {
	where, err := dir.readEndpoints()
	if err != nil {
		return "", err
	}
	return enginetest.Query(context.Background(), where.ClickHouse, clickhouse.DefaultDatabase, sql)
}

// eventually asks until there is no error.
func eventually(ts *testscript.TestScript, ask func() error) {
	deadline := time.Now().Add(time.Minute)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v", err)
		}
		<-ticker.C
	}
}

func commands(t *testing.T) []*kong.Node {
	t.Helper()
	parser, err := kong.New(&cli{}, kong.Name("agentmeter"), kong.DefaultEnvars("AGENTMETER"))
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*kong.Node
	var add func(*kong.Node)
	add = func(parent *kong.Node) {
		for _, node := range parent.Children {
			if !node.Hidden {
				nodes = append(nodes, node)
				add(node)
			}
		}
	}
	add(parser.Model.Node)
	return nodes
}

func TestEachCommandExplainsItselfWithAnExample(t *testing.T) {
	for _, node := range commands(t) {
		if node.Name == "version" {
			continue
		}
		if !strings.Contains(node.Detail, node.FullPath()) {
			t.Errorf("%s --help has no example", node.FullPath())
		}
	}
}

// Flags that no environment variable gives: one that is set for good, or for
// another command, would do what cannot be undone.
var withoutEnvironment = []string{"agentmeter erase --yes", "agentmeter erase --unknown"}

func TestEachFlagHasItsEnvironmentTwinAndAnExplanation(t *testing.T) {
	for _, node := range commands(t) {
		for _, flag := range node.Flags {
			if flag.Name == "help" {
				continue
			}
			want := "AGENTMETER_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
			if slices.Contains(withoutEnvironment, node.FullPath()+" --"+flag.Name) {
				if len(flag.Envs) > 0 {
					t.Errorf("agentmeter %s --%s: environment %v, want none", node.Name, flag.Name, flag.Envs)
				}
			} else if len(flag.Envs) != 1 || flag.Envs[0] != want {
				t.Errorf("agentmeter %s --%s: environment %v, want %s", node.Name, flag.Name, flag.Envs, want)
			}
			if flag.Help == "" {
				t.Errorf("agentmeter %s --%s is not explained", node.Name, flag.Name)
			}
		}
	}
}

// Everybody on a machine can read a command line, and environments are passed on and
// printed, so a secret is always in a file.
func TestNoSecretIsTakenOnACommandLine(t *testing.T) {
	const planted = "pl4nted-p4ssword"
	for _, node := range commands(t) {
		for _, flag := range node.Flags {
			secret := strings.Contains(flag.Name, "password") || strings.Contains(flag.Name, "secret") || strings.Contains(flag.Name, "token") || strings.Contains(flag.Name, "key")
			if secret && flag.Tag.Type != "path" {
				t.Errorf("%s --%s: takes a secret itself; take a file that holds it", node.FullPath(), flag.Name)
			}
		}
		for _, flag := range node.Flags {
			if flag.Tag.Type == "path" || flag.Enum != "" {
				continue
			}
			if kind := flag.Target.Type().String(); kind != "string" && kind != "[]string" {
				continue
			}
			for _, address := range []string{"http://user:" + planted + "@127.0.0.1:1", "https://" + planted + "@example.com/x", "http://user:" + planted + "%zz@host"}[:slowtest.Number(1, 3)] {
				var out bytes.Buffer
				args := append(strings.Fields(node.FullPath())[1:], "--"+flag.Name, address)
				if node.Name == "import" {
					args = append(args, "none.ndjson")
				}
				for _, other := range node.Flags {
					if other.Required && other.Name != flag.Name {
						args = append(args, "--"+other.Name, "x")
					}
				}
				if code := run(t.Context(), args, nil, &out, &out); code != exitUnclear || strings.Contains(out.String(), planted) {
					t.Errorf("%s --%s with a password in it: exit status %d: %s", node.FullPath(), flag.Name, code, &out)
				}
			}
		}
	}
}

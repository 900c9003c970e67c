package e2e

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.yaml.in/yaml/v3"
)

const top = "../.."

// buildImage builds the image's file tree as the Dockerfile does, once.
var buildImage = sync.OnceValues(func() (dir string, err error) {
	dir = filepath.Join(filepath.Dir(binary), "image")
	if out, err := exec.Command(filepath.Join(top, "deploy/image-tree.sh"), dir, "v0.0.0-test").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the image's tree: %w: %s", err, out)
	}
	return dir, nil
})

// imageProgram is the program of the image.
func imageProgram(t *testing.T) string {
	t.Helper()
	if os.Getenv("AGENTMETER_TEST_DEPLOY") == "" {
		t.Skip("make test-deploy runs this: it builds the program a second time")
	}
	dir, err := buildImage()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"etc/passwd": "agentmeter:x:65532:65532:", "etc/group": "agentmeter:x:65532:"} {
		if content, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.HasPrefix(string(content), want) {
			t.Errorf("%s: %v: %q", name, err, content)
		}
	}
	return filepath.Join(dir, "usr/bin/agentmeter")
}

// bare runs a program as a container does: with this environment alone, in a
// folder that it has no business in.
func bare(t *testing.T, environment []string, program string, args ...string) (cmd *exec.Cmd) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = t.TempDir()
	// Whoever writes into its working directory fails on a read-only file system;
	// root is not held back by the mode, so the folder is looked at afterwards, too.
	if err := os.Chmod(cmd.Dir, 0o500); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append([]string{}, environment...)
	t.Cleanup(func() {
		if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) > 0 {
			t.Errorf("agentmeter %s wrote into its working directory, which is read-only in the image: %v %v", strings.Join(args, " "), left, err)
		}
		_ = os.Chmod(cmd.Dir, 0o700)
	})
	return cmd
}

func TestImageNeedsNothingButItself(t *testing.T) {
	program := imageProgram(t)
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("the program asks for a dynamic loader (%s), which the image does not have", segment.Type)
		}
	}
	out, err := bare(t, nil, program, "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "agentmeter v0.0.0-test ") {
		t.Errorf("version: %v: %s", err, out)
	}
	for _, command := range []string{"run", "engine"} {
		out, err := bare(t, nil, program, command, "--data-dir", t.TempDir(), "--clickhouse-listen", "127.0.0.1:0").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "this build of agentmeter lacks the embedded mode") {
			t.Errorf("%s without the embedded mode: %v: %s", command, err, out)
		}
	}
}

// composed is what docker-compose.yml says of a service, as far as a process
// goes.
type composed struct {
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Secrets     []string          `yaml:"secrets"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

type composition struct {
	Services map[string]composed `yaml:"services"`
	Secrets  map[string]struct {
		File string `yaml:"file"`
	} `yaml:"secrets"`

	t       *testing.T
	program string
	dir     string // holds .env and secrets
	// What stands for the services' addresses; clickhouse is a door in front of
	// engine that checks users and passwords.
	kafka, clickhouse, engine string
	// user is the one that the engine is now.
	user atomic.Value
}

var interpolation = regexp.MustCompile(`\$\{(\w+)(?:(:-|:\?)([^}]*))?\}`)

// readComposition reads the file with the variables of dir/.env in their places.
func readComposition(t *testing.T, dir string) *composition {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(top, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	environment := dotEnv(t, dir)
	content = interpolation.ReplaceAllFunc(content, func(found []byte) []byte {
		parts := interpolation.FindSubmatch(found)
		value, ok := environment[string(parts[1])]
		switch {
		case ok:
			return []byte(value)
		case string(parts[2]) == ":-":
			return parts[3]
		}
		t.Errorf("%s is not in the .env that deploy/env.sh writes", parts[1])
		return nil
	})
	c := &composition{t: t, dir: dir}
	if err := yaml.Unmarshal(content, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func dotEnv(t *testing.T, dir string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	environment := make(map[string]string)
	for line := range strings.Lines(string(content)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			environment[name] = value
		}
	}
	return environment
}

// environment is a service's own, with our addresses and files for the
// container's.
func (c *composition) environment(name string, own map[string]string) []string {
	c.t.Helper()
	service, ok := c.Services[name]
	if !ok {
		c.t.Fatalf("docker-compose.yml has no service %s", name)
	}
	var environment []string
	for variable, value := range service.Environment {
		if address, ok := own[variable]; ok {
			value = address
		}
		value = strings.ReplaceAll(value, "kafka:9092", c.kafka)
		value = strings.ReplaceAll(value, "http://clickhouse:8123", c.clickhouse)
		if secret, ok := strings.CutPrefix(value, "/run/secrets/"); ok {
			if !slices.Contains(service.Secrets, secret) {
				c.t.Errorf("%s is told of the secret %s, which it is not given", name, secret)
			}
			value = filepath.Join(c.dir, c.Secrets[secret].File)
		}
		environment = append(environment, variable+"="+value)
	}
	return environment
}

// run runs a service that ends by itself, with args in place of its command
// where there are any.
func (c *composition) run(name string, args ...string) string {
	c.t.Helper()
	if len(args) == 0 {
		args = c.Services[name].Command
	}
	cmd := bare(c.t, c.environment(name, nil), c.program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("%s: %v\n%s%s", name, err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

// start starts a service that serves, and waits until its own health check says
// so.
func (c *composition) start(name string) (p *process, base string) {
	c.t.Helper()
	listen, metrics := freeAddress(), freeAddress()
	environment := c.environment(name, map[string]string{"AGENTMETER_HTTP_LISTEN": listen, "AGENTMETER_METRICS_LISTEN": metrics})
	p = startCommand(c.t, bare(c.t, environment, c.program, c.Services[name].Command...))
	check := slices.Clone(c.Services[name].Healthcheck.Test)
	if len(check) < 2 || check[0] != "CMD" || check[1] != "/usr/bin/agentmeter" {
		c.t.Fatalf("%s: health check %q is none that an image without a shell can run", name, check)
	}
	for i := range check {
		check[i] = strings.ReplaceAll(check[i], "127.0.0.1:9464", metrics)
	}
	p.waitFor("to be healthy", startPatience, func() error {
		out, err := bare(c.t, nil, c.program, check[2:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if status, content := call(c.t, http.MethodGet, "http://"+metrics+"/metrics", "", nil); status != http.StatusOK || !strings.Contains(string(content), "agentmeter_build_info") {
		c.t.Errorf("%s: its own listener's /metrics: status %d", name, status)
	}
	return p, "http://" + listen
}

// guardEngine stands in front of the engine, which has one user without a
// password, and checks what ClickHouse would: that the one who asks is the user
// that the engine is now, with the password whose SHA-256 ClickHouse knows.
func (c *composition) guardEngine() {
	c.t.Helper()
	c.engine = "http://" + freeAddress()
	target, err := url.Parse(c.engine)
	if err != nil {
		c.t.Fatal(err)
	}
	known := dotEnv(c.t, c.dir)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Set("X-ClickHouse-User", "default")
		r.Out.Header.Del("X-ClickHouse-Key")
		r.Out.Header.Del("Authorization")
	}}
	guard := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := c.user.Load().(string)
		want := known["CLICKHOUSE_"+strings.ToUpper(strings.TrimPrefix(user, "agentmeter_"))+"_SHA256"]
		asks, password := r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
		if basic, key, ok := r.BasicAuth(); ok { // as clickhouse-go does without TLS
			asks, password = basic, key
		}
		got := sha256.Sum256([]byte(password))
		if asks != user || hex.EncodeToString(got[:]) != want {
			w.Header().Set("X-ClickHouse-Exception-Code", "516")
			http.Error(w, "Code: 516. DB::Exception: Authentication failed (AUTHENTICATION_FAILED)", http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	c.t.Cleanup(guard.Close)
	c.clickhouse = guard.URL
}

// rights is a user of deploy/clickhouse/users.d.
type rights struct {
	XMLName xml.Name `xml:""`
	Profile string   `xml:"profile"`
	Quota   string   `xml:"quota"`
	Grants  []string `xml:"grants>query"`
}

// engineAs starts the real engine on dir with ClickHouse's own configuration of
// deploy/clickhouse, and has it do everything as the given user. The embedded
// engine has one user; in the role's name it is held to the role's grants,
// profile and quota, and guardEngine checks names and passwords.
func (c *composition) engineAs(dir, user string) *process {
	c.t.Helper()
	content, err := os.ReadFile(filepath.Join(top, "deploy/clickhouse/users.d/agentmeter.xml"))
	if err != nil {
		c.t.Fatal(err)
	}
	var users struct {
		Users struct {
			All []rights `xml:",any"`
		} `xml:"users"`
	}
	if err := xml.Unmarshal(content, &users); err != nil {
		c.t.Fatal(err)
	}
	i := slices.IndexFunc(users.Users.All, func(r rights) bool { return r.XMLName.Local == user })
	if i < 0 {
		c.t.Fatalf("deploy/clickhouse has no user %s", user)
	}
	role := users.Users.All[i]
	grants := ""
	// The engine's front has a block's rows in a file where a server has them in
	// the request, so that reading them asks for another right than on a server.
	for _, grant := range append(role.Grants, "GRANT READ ON FILE, CREATE TEMPORARY TABLE ON *.*") {
		grants += "<query>" + grant + "</query>"
	}
	config := c.t.TempDir()
	for name, text := range map[string]string{
		"config.xml":             `<clickhouse><user_directories><users_xml><path>` + config + `/users.xml</path></users_xml></user_directories></clickhouse>`,
		"users.xml":              `<clickhouse><profiles><default/></profiles><users><default><no_password/></default></users><quotas><default/></quotas></clickhouse>`,
		"users.d/agentmeter.xml": string(content),
		"users.d/zz-as.xml": `<clickhouse><users><default><no_password/><networks><ip>::/0</ip></networks><profile>` + role.Profile +
			`</profile><quota>` + role.Quota + `</quota><grants>` + grants + `</grants></default></users></clickhouse>`,
	} {
		name = filepath.Join(config, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			c.t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	server, err := os.ReadFile(filepath.Join(top, "deploy/clickhouse/config.d/agentmeter.xml"))
	if err == nil {
		err = os.MkdirAll(filepath.Join(config, "config.d"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(config, "config.d/agentmeter.xml"), server, 0o600)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(binary, "engine", "--data-dir", dir, "--clickhouse-listen", strings.TrimPrefix(c.engine, "http://"), "--engine-config", filepath.Join(config, "config.xml"))
	cmd.Env = os.Environ()
	for name, value := range dotEnv(c.t, c.dir) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	p := startCommand(c.t, cmd)
	p.waitFor("to answer", startPatience, func() error {
		return expectStatus(c.t, http.MethodGet, c.engine+"/ping", "", nil, http.StatusOK)
	})
	c.user.Store(user)
	return p
}

// refuses checks that the engine's present user may not run the statements.
func (c *composition) refuses(statements ...string) {
	c.t.Helper()
	for _, statement := range statements {
		status, content := call(c.t, http.MethodPost, c.engine+"/?database=agentmeter", "", strings.NewReader(statement))
		if status == http.StatusOK || !regexp.MustCompile(`ACCESS_DENIED|READONLY|SETTING_CONSTRAINT_VIOLATION|QUERY_IS_PROHIBITED`).Match(content) {
			c.t.Errorf("%s: status %d, want a refusal: %s", statement, status, content)
		}
	}
}

// The compose file's commands and environments, as written, on the rights of
// deploy/clickhouse, as written: the embedded broker and engine stand for Kafka
// and ClickHouse.
func TestComposeFileCountsWithTheLeastRights(t *testing.T) {
	program := imageProgram(t)
	dir := t.TempDir()
	script := filepath.Join(top, "deploy/env.sh")
	if out, err := exec.CommandContext(t.Context(), script, dir).CombinedOutput(); err != nil {
		t.Fatalf("deploy/env.sh: %v: %s", err, out)
	}
	checkSecrets(t, script, dir)

	c := readComposition(t, dir)
	c.program = program
	// The topics are migrate's to create, but the broker brings its own.
	_, c.kafka = startPrinted(t, "broker", "--data-dir", t.TempDir(), "--kafka-listen", "127.0.0.1:0", "--event-partitions", c.Services["migrate"].Environment["AGENTMETER_EVENT_PARTITIONS"])
	c.guardEngine()
	tables := t.TempDir()

	engine := c.engineAs(tables, "agentmeter_migrator")
	c.run("migrate")
	c.run("migrate") // as on every start of the composition
	c.refuses("CREATE DATABASE other", "CREATE USER u", "DROP DATABASE agentmeter")
	engine.stop()

	engine = c.engineAs(tables, "agentmeter_writer")
	ingest, ingestBase := c.start("ingest")
	rollup, _ := c.start("rollup")
	other, _ := c.start("rollup")
	token := c.run("cli", "token", "--workspace", "ws_deploy", "--scope", "events:write")
	const events = 40
	var body strings.Builder
	for i := range events {
		fmt.Fprintf(&body, `{"id":"e%d","workspace_id":"ws_deploy","agent_id":"agt","occurred_at":%q,"channel":"embed","credits":"0.25"}`+"\n", i, nowText())
	}
	for range 2 { // sent again, which counts once
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ingestBase+"/v1/events", strings.NewReader(body.String()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		request.Header.Set("Content-Type", "application/x-ndjson")
		response, err := http.DefaultClient.Do(request)
		if err != nil || response.StatusCode != http.StatusAccepted {
			t.Fatalf("send events: %v %v", err, response)
		}
		_ = response.Body.Close()
	}
	rollup.waitFor("to count", countPatience, func() error {
		if got := sql(t, c.engine, "SELECT count() FROM usage_ledger FORMAT TSV"); got != fmt.Sprint(2*events) {
			return notYetError{got}
		}
		return nil
	})
	if out := c.run("cli", "audit"); !strings.Contains(out, "Exact:") {
		t.Errorf("audit: %s", out)
	}
	c.run("cli", "rebuild")
	c.refuses(
		"ALTER TABLE usage_ledger DELETE WHERE 1", "TRUNCATE TABLE usage_hour", "DROP TABLE usage_ledger",
		"ALTER TABLE usage_ledger MODIFY SETTING non_replicated_deduplication_window = 100",
		"CREATE TABLE mine (a Int64) ENGINE = Memory",
		"INSERT INTO rollup_progress SETTINGS async_insert = 1 SELECT * FROM rollup_progress",
		"INSERT INTO rollup_progress SETTINGS materialized_views_ignore_errors = 1 SELECT * FROM rollup_progress",
	)
	rollup.stop()
	other.stop()
	ingest.stop()
	engine.stop()

	// A ledger that was set back: what counts repairs it by its own rights.
	engine = c.engineAs(tables, "agentmeter_migrator")
	sql(t, c.engine, "ALTER TABLE agentmeter.usage_ledger DELETE WHERE 1 SETTINGS mutations_sync = 2")
	engine.stop()
	engine = c.engineAs(tables, "agentmeter_writer")
	rollup, _ = c.start("rollup")
	rollup.waitFor("to count again what the ledger lost", countPatience, func() error {
		if got := sql(t, c.engine, "SELECT count() FROM usage_ledger FORMAT TSV"); got != fmt.Sprint(2*events) {
			return notYetError{got}
		}
		return nil
	})
	if out := c.run("cli", "audit"); !strings.Contains(out, "Exact:") {
		t.Errorf("audit of what was set back: %s", out)
	}
	c.refuses("ALTER TABLE usage_id_places DROP COLUMN offset", "TRUNCATE TABLE usage_id_places", "DROP TABLE usage_id_places")
	rollup.stop()
	engine.stop()

	engine = c.engineAs(tables, "agentmeter_reader")
	query, queryBase := c.start("query")
	read := c.run("cli", "token", "--workspace", "ws_deploy", "--scope", "usage:read")
	if d := readDashboard(t, queryBase, read, "ws_deploy", "range=7d"); d.Summary.Credits != "10" || d.Summary.Messages != "40" {
		t.Errorf("dashboard: %+v, want 40 messages for 10 credits", d.Summary)
	}
	for _, path := range []string{
		"/v1/usage/reconcile?workspace=ws_deploy&range=7d", "/v1/usage/breakdown?workspace=ws_deploy&range=7d&by=channel",
		"/v1/usage/export.csv?workspace=ws_deploy&range=7d", "/v1/usage/agents?workspace=ws_deploy&range=7d",
		"/v1/agents?workspace=ws_deploy", "/v1/workspaces/ws_deploy", "/w/ws_deploy/usage",
	} {
		if err := expectStatus(t, http.MethodGet, queryBase+path, read, nil, http.StatusOK); err != nil {
			t.Error(err)
		}
	}
	c.refuses(
		"INSERT INTO rollup_progress SELECT * FROM rollup_progress", "ALTER TABLE usage_ledger DELETE WHERE 1",
		"SELECT 1 SETTINGS max_memory_usage = 100000000000", "DROP TABLE usage_day", "CREATE TABLE mine (a Int64) ENGINE = Memory",
	)
	query.stop()
	engine.stop()

	c.engineAs(tables, "agentmeter_migrator")
	c.run("migrate", "erase", "--workspace", "ws_deploy", "--yes")
	c.run("migrate", "erase", "--workspace", "ws_deploy") // there is nothing of it any more
}

// checkSecrets: nobody else may read them, nothing overwrites them, and .env
// holds none.
func checkSecrets(t *testing.T, script, dir string) {
	t.Helper()
	env, err := os.ReadFile(filepath.Join(dir, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "secrets", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("secrets: %v, %v", files, err)
	}
	for _, name := range append(files, filepath.Join(dir, ".env")) {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %04o, want 0600", name, info.Mode().Perm())
		}
		secret, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(name) != ".env" && bytes.Contains(env, bytes.TrimSpace(secret)) {
			t.Errorf(".env holds the secret %s", filepath.Base(name))
		}
	}
	out, err := exec.CommandContext(t.Context(), script, dir).CombinedOutput()
	again, readErr := os.ReadFile(filepath.Join(dir, ".env"))
	if err == nil || readErr != nil || !bytes.Equal(env, again) {
		t.Errorf("a second run does not refuse: %v %v: %s", err, readErr, out)
	}
}

func TestReleaseIsAStaticProgramAndItsChecksum(t *testing.T) {
	if os.Getenv("AGENTMETER_TEST_DEPLOY") == "" {
		t.Skip("make test-deploy runs this: it builds the program once more")
	}
	script, dist := filepath.Join(top, "deploy/release.sh"), t.TempDir()
	release := func(version string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), script, version)
		// One of them: the other takes as long again, and differs by its name.
		cmd.Env = append(os.Environ(), "DIST="+dist, "ARCHITECTURES="+runtime.GOARCH)
		return cmd.CombinedOutput()
	}
	if out, err := release("dev"); err == nil {
		t.Errorf("a release without a version: %s", out)
	}
	if out, err := release("v0.0.0-test"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "agentmeter-v0.0.0-test.sha256")
	check.Dir = dist
	if out, err := check.CombinedOutput(); err != nil || strings.Count(string(out), ": OK") != 1 {
		t.Errorf("checksums: %v: %s", err, out)
	}
	program := filepath.Join(dist, "agentmeter-v0.0.0-test-linux-"+runtime.GOARCH)
	if out, err := bare(t, nil, program, "version").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "agentmeter v0.0.0-test ") {
		t.Errorf("version: %v: %s", err, out)
	}
	// The same source gives the same bytes: the image's program is the release's.
	image, err := os.ReadFile(imageProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	if released, err := os.ReadFile(program); err != nil || !bytes.Equal(image, released) {
		t.Errorf("the release's program is not the image's (%v)", err)
	}
}

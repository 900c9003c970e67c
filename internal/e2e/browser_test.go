package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
)

// browserVariable makes a missing browser a failure instead of a skip.
const browserVariable = "AGENTMETER_REQUIRE_BROWSER"

// findBrowser returns the path of a Chromium.
func findBrowser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv(browserVariable) == "1" {
		t.Fatal("no Chromium was found; install it or set CHROMIUM to its path")
	}
	t.Skip("SKIPPED WITHOUT A BROWSER: no Chromium was found; install it or set CHROMIUM to its path")
	return ""
}

const pageDir = "../../query/page"

// requireBrowser skips a test that lacks the browser or the page's modules.
func requireBrowser(t *testing.T) {
	t.Helper()
	findBrowser(t)
	if _, err := os.Stat(filepath.Join(pageDir, "node_modules", "playwright-core")); err != nil {
		if os.Getenv(browserVariable) == "1" {
			t.Fatal("the page's modules are missing; run npm ci in query/page")
		}
		t.Skip("SKIPPED WITHOUT THE PAGE'S MODULES: run npm ci in query/page")
	}
}

// The browser tests of query/page/e2e, against a whole stack that has counted known
// events.
func TestPageShowsKnownFiguresInARealBrowser(t *testing.T) {
	slowtest.Begin(t)
	requireBrowser(t)
	i := runOn(t, t.TempDir())
	known := sendKnownEvents(t, i)
	known.await(t, i)
	read := i.token("ws_browser", "usage:read")
	link := strings.TrimSpace(mustAgentmeter(t, "link", "--data-dir", i.dir, "--workspace", "ws_browser"))

	runBrowserTests(t, "e2e",
		"E2E_BASE="+i.endpoints.HTTP, "E2E_LINK="+link, "E2E_TOKEN="+read,
		"E2E_CREDITS="+known.credits.String(), fmt.Sprintf("E2E_MESSAGES=%d", known.messages),
		"E2E_AGENT="+known.top, "E2E_AGENT_CREDITS="+known.agents[known.top].String(),
	)
}

// The browser tests of query/page/e2e/stack stop and start the processes and set the
// clock. With AGENTMETER_E2E_HOLD this only says how to reach the processes, for running
// single files against them (node --test e2e/stack/NAME.test.mjs), until it is
// interrupted.
func TestPageStaysRightOnASteeredStack(t *testing.T) {
	slowtest.Begin(t)
	requireBrowser(t)
	environment := steer(t).environment()
	if os.Getenv("AGENTMETER_E2E_HOLD") != "" {
		fmt.Printf("export %s\n", strings.Join(environment, " "))
		interrupted, release := signal.NotifyContext(t.Context(), os.Interrupt)
		defer release()
		<-interrupted.Done()
		return
	}
	runBrowserTests(t, "e2e:stack", environment...)
}

// runBrowserTests runs a script of the page's package.
func runBrowserTests(t *testing.T, script string, environment ...string) {
	t.Helper()
	run := exec.CommandContext(t.Context(), "npm", "run", "--silent", script)
	run.Dir = pageDir
	run.Env = append(os.Environ(), "E2E_CHROMIUM="+findBrowser(t), "E2E_FAILURES="+failuresDir(t))
	run.Env = append(run.Env, environment...)
	run.Stdout, run.Stderr = t.Output(), t.Output()
	if err := run.Run(); err != nil {
		t.Errorf("browser tests: %v", err)
	}
}

// failuresDir is where failures leave their traces: a folder that outlives the test.
func failuresDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "agentmeter-browser-failures")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

type knownEvents struct {
	credits  schemas.CreditsSum
	messages int64
	agents   map[string]schemas.CreditsSum
	top      string
	topName  string
}

// await waits until the figures hold them.
func (k knownEvents) await(t *testing.T, i *instance) {
	t.Helper()
	read := i.token("ws_browser", "usage:read")
	i.waitFor("to count the known events", countPatience, func() error {
		d := readDashboard(t, i.endpoints.HTTP, read, "ws_browser", "")
		if d.Summary.Credits != k.credits.String() || d.AgentsTotal != len(k.agents) || d.Agents[0].Name != k.topName {
			return notYetError{fmt.Sprintf("%s credits, %d agents", d.Summary.Credits, d.AgentsTotal)}
		}
		return nil
	})
}

// sendKnownEvents registers a workspace and sends events of this billing
// period, adding them up on the side.
func sendKnownEvents(t *testing.T, i *instance) knownEvents {
	t.Helper()
	base := i.endpoints.HTTP
	token := i.token("ws_browser", "events:write,events:import,directory:write")
	put := func(path, body string) {
		if status, content := call(t, "PUT", base+path, token, strings.NewReader(body)); status/100 != 2 {
			t.Fatalf("PUT %s: status %d: %s", path, status, content)
		}
	}
	zone, err := time.LoadLocation("Europe/Copenhagen")
	if err != nil {
		t.Fatal(err)
	}
	// The billing period began ten days ago, so that it does not end before the tests do.
	now := time.Now().In(zone)
	first := time.Date(now.Year(), now.Month(), now.Day()-10, 0, 0, 0, 0, zone)
	put("/v1/workspaces/ws_browser", `{"name":"Browser","timezone":"Europe/Copenhagen","billing_anchor":"`+first.Format(time.DateOnly)+`","agent_slots":20,"seats":5,
		"links":{"billing":"https://example.com/billing"},"support_email":"help@example.com","product_name":"Example"}`)
	const agents = 12
	name := func(a int) string { return fmt.Sprintf("agt_%02d", a) }
	for a := 1; a <= agents; a++ {
		put("/v1/workspaces/ws_browser/agents/"+name(a), fmt.Sprintf(`{"name":"Agent %d"}`, a))
	}
	put("/v1/workspaces/ws_browser/members/mem_1", `{"name":"Ada"}`)

	known := knownEvents{agents: map[string]schemas.CreditsSum{}, top: name(agents), topName: fmt.Sprintf("Agent %d", agents)}
	var events []map[string]any
	var times []time.Time // two each six hours, so that there is always more than one conversation
	for at := first; at.Before(now); at = at.Add(6 * time.Hour) {
		times = append(times, at, at.Add(time.Microsecond))
	}
	for n, at := range times {
		for a := 1; a <= agents; a++ {
			amount := schemas.Credits(a*500_000 + n%3*250_000 + 1)
			channel := "embed"
			if (a+n)%11 == 0 {
				channel = schemas.ChannelPlayground
			} else {
				known.credits = known.credits.Plus(schemas.SumOf(amount))
				known.agents[name(a)] = known.agents[name(a)].Plus(schemas.SumOf(amount))
				known.messages++
			}
			events = append(events, map[string]any{
				"id": fmt.Sprintf("e-%d-%d", n, a), "workspace_id": "ws_browser", "agent_id": name(a), "channel": channel,
				"occurred_at": at.UTC().Format(time.RFC3339Nano), "credits": amount.String(), "conversation_id": fmt.Sprintf("conv_%d", n), "model": "large",
			})
		}
	}
	body, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	status, content := call(t, "POST", base+"/v1/events", token, strings.NewReader(string(body)))
	if want := fmt.Sprintf(`"accepted":%d`, len(events)); status != 202 || !strings.Contains(string(content), want) {
		t.Fatalf("status %d, want 202 with %s: %.500s", status, want, content)
	}
	return known
}

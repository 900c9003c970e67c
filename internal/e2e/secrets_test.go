package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"agentmeter/internal/certtest"
	"agentmeter/internal/slowtest"
)

// planted are secrets by name, each of which is given to a process in the way that it
// takes it, and none of which may come out anywhere.
type planted map[string]string

// forms are what a secret may look like once it has leaked.
func forms(secret string) []string {
	plain := []byte(secret)
	list := strings.Trim(fmt.Sprintf("%d", plain), "[]")
	words := make([]string, 0, len(plain)/8)
	for word := plain; len(word) >= 8; word = word[8:] { // as a stack trace shows memory
		reversed := make([]byte, 8)
		for i := range reversed {
			reversed[i] = word[7-i]
		}
		words = append(words, "0x"+hex.EncodeToString(reversed))
	}
	return append(words, secret, hex.EncodeToString(plain), strings.ToUpper(hex.EncodeToString(plain)), list, url.QueryEscape(secret),
		strings.TrimRight(base64.StdEncoding.EncodeToString(plain[:len(plain)/3*3]), "="), base64.RawURLEncoding.EncodeToString(plain[:len(plain)/3*3]))
}

// absentFrom checks that no secret is in what came out somewhere.
func (p planted) absentFrom(t *testing.T, where string, content []byte) {
	t.Helper()
	for name, secret := range p {
		for _, form := range forms(secret) {
			if i := bytes.Index(content, []byte(form)); i >= 0 {
				t.Errorf("%s is in %s: …%.100q…", name, where, content[max(i-60, 0):])
				break
			}
		}
	}
}

// commandLines are those of a process's group.
func commandLines(t *testing.T, group int) []byte {
	t.Helper()
	var all []byte
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(process), "%d", &pid); err != nil {
			continue
		}
		if of, err := syscall.Getpgid(pid); err != nil || of != group {
			continue
		}
		line, err := os.ReadFile(filepath.Join(process, "cmdline"))
		if err == nil { // it may be gone by now
			all = append(append(all, line...), '\n')
		}
	}
	if len(all) == 0 {
		t.Error("no command line was read")
	}
	return all
}

// plantedCommand is agentmeter with an environment in which something is planted.
func plantedCommand(t *testing.T, collector string, secrets planted, args ...string) *process {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), "GOTRACEBACK=system", "AGENTMETER_LOG_LEVEL=debug",
		"AGENTMETER_TRACE_ENDPOINT="+collector, "AGENTMETER_TRACE_SAMPLE=1",
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20"+secrets["header of traces"])
	return startCommand(t, cmd)
}

// dump has a process say all that its goroutines do, as in a crash, and end.
func (p *process) dump() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		p.t.Fatal(err)
	}
	<-p.ended
	if !strings.Contains(p.stderr.String(), "goroutine 1 ") {
		p.t.Errorf("%s printed no stack traces", p.name)
	}
}

// askAround makes requests that succeed and that fail, with secrets where they belong
// and where they do not, and returns all that was answered.
func askAround(t *testing.T, base string, secrets planted) []byte {
	t.Helper()
	token := secrets["token"]
	var all bytes.Buffer
	for _, path := range []string{
		"/healthz", "/readyz", "/metrics", "/openapi.yaml", "/nowhere", "/debug/pprof/", "/debug/vars", "/v1/usage/dashboard?workspace=ws_a", "/v1/usage/dashboard?workspace=ws_b",
		"/v1/usage/export.csv?workspace=ws_a", "/w/ws_a/usage", "/w/ws_a/usage/proof", "/v1/usage/dashboard?workspace=ws_a&from=nonsense",
		"/v1/usage/dashboard?workspace=ws_a&access_token=" + token, "/session/" + token, "/session/" + secrets["one-time link"] + "x",
	} {
		for n, edit := range []func(*http.Request){
			func(*http.Request) {},
			func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) },
			func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token+"x") },
			func(r *http.Request) { r.Header.Set("Authorization", token) },
			func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "agentmeter_session", Value: token}) },
			func(r *http.Request) { r.Header.Set("Accept", "text/html") },
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				target := path
				if n > 0 && !strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, "/session/") && !strings.HasPrefix(path, "/w/") {
					continue // it asks for nothing, and looks at what is sent even less
				}
				if method == http.MethodPost {
					target = "/v1/events"
				}
				request, err := http.NewRequestWithContext(t.Context(), method, base+target, strings.NewReader(`{"id":"e1"`))
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Content-Type", "application/json")
				edit(request)
				answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(answer.Body)
				_ = answer.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&all, "%s %v %s\n", answer.Status, answer.Header, body)
			}
		}
	}
	return all.Bytes()
}

// Secrets come in by files and headers, and nowhere out.
func TestSecretsComeOutNowhere(t *testing.T) {
	slowtest.Begin(t)
	files := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		name = filepath.Join(files, name)
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	// A collector that refuses traces: what is told of that is looked through, too.
	var mu sync.Mutex
	var traces bytes.Buffer
	authorized := false
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		traces.Write(body)
		authorized = authorized || strings.HasPrefix(r.Header.Get("Authorization"), "Bearer planted-")
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer collector.Close()

	secrets := planted{
		"key":                 "planted-key-0123456789-abcdefghi", // 32 bytes
		"header of traces":    "planted-header-of-traces-5d1a",
		"kafka password":      "planted-kafka-password-77b2",
		"clickhouse password": "planted-clickhouse-password-90e4",
		"conversation key":    "planted-conversation-key-c6f0",
	}
	key := write("access.key", secrets["key"])
	kafkaPassword := write("kafka", secrets["kafka password"]+"\n")
	clickhousePassword := write("clickhouse", secrets["clickhouse password"]+"\n")
	conversationKey := write("conversation.key", secrets["conversation key"]+"\n")
	authority, err := certtest.New("authority")
	if err != nil {
		t.Fatal(err)
	}
	cert, tlsKey := issued(t, authority, files, "server")
	private, err := os.ReadFile(tlsKey)
	if err != nil {
		t.Fatal(err)
	}
	secrets["private key"] = strings.Split(string(private), "\n")[1]
	secrets["token"] = strings.TrimSpace(mustAgentmeter(t, "token", "--token-key-file", key, "--workspace", "ws_a", "--scope", "events:write,usage:read"))
	token := write("token", secrets["token"]+"\n")

	// Everything in one process.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "access.key"), []byte(secrets["key"]), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress()
	p := plantedCommand(t, collector.URL, secrets, "run", "--data-dir", dir, "--conversation-key-file", conversationKey, "--http-listen", address,
		"--kafka-listen", "127.0.0.1:0", "--clickhouse-listen", "127.0.0.1:0")
	base := "http://" + address
	p.waitFor("to be ready", startPatience, func() error { return expectStatus(t, http.MethodGet, base+"/readyz", "", nil, http.StatusOK) })
	status, content := call(t, http.MethodPost, base+"/v1/sessions", secrets["token"], strings.NewReader("{}"))
	_, rest, _ := strings.Cut(string(content), "/session/")
	secrets["one-time link"], _, _ = strings.Cut(rest, `"`)
	if status != http.StatusCreated || len(secrets["one-time link"]) < 100 {
		t.Fatalf("no link: %d %s", status, content)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Get(base + "/session/" + secrets["one-time link"])
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	secrets["session"] = answer.Cookies()[0].Value
	if err := expectStatus(t, http.MethodPost, base+"/v1/events", secrets["token"], strings.NewReader(`{"id":"e1","workspace_id":"ws_a","agent_id":"agt","occurred_at":"`+nowText()+`","channel":"embed","credits":"1"}`), http.StatusAccepted); err != nil {
		t.Fatal(err)
	}
	secrets.absentFrom(t, "answers of run", askAround(t, base, secrets))
	secrets.absentFrom(t, "command lines of run", commandLines(t, p.cmd.Process.Pid))
	p.waitFor("to send traces", countPatience, func() error {
		mu.Lock()
		defer mu.Unlock()
		if traces.Len() == 0 {
			return notYetError{"none"}
		}
		return nil
	})
	p.dump()
	p.kill()
	secrets.absentFrom(t, "output of run", []byte(p.stdout.String()+p.stderr.String()))
	looked := 0
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || path == filepath.Join(dir, "access.key") {
			return err
		}
		content, err := os.ReadFile(path)
		looked++
		secrets.absentFrom(t, path, content)
		return err
	}); err != nil || looked == 0 {
		t.Errorf("%d files were looked through: %v", looked, err)
	}

	// Single roles before a Kafka and a ClickHouse that refuse them, or are not there.
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-ClickHouse-Exception-Code", "516")
		http.Error(w, "Code: 516. DB::Exception: default: Authentication failed: password is incorrect", http.StatusForbidden)
	}))
	defer refusing.Close()
	_, kafka := startPrinted(t, "broker", "--data-dir", t.TempDir(), "--kafka-listen", "127.0.0.1:0")
	for _, to := range [][2]string{{kafka, refusing.URL}, {freeAddress(), "http://" + freeAddress()}} {
		toKafka := []string{"--kafka", to[0], "--kafka-sasl", "SCRAM-SHA-256", "--kafka-user", "agentmeter", "--kafka-password-file", kafkaPassword}
		toClickHouse := []string{"--clickhouse", to[1], "--clickhouse-user", "agentmeter", "--clickhouse-password-file", clickhousePassword}
		for role, flags := range map[string][]string{
			"ingest": append([]string{"--conversation-key-file", conversationKey}, toKafka...),
			"query":  toClickHouse,
			"rollup": append(append([]string{}, toKafka...), toClickHouse...),
		} {
			address, metrics := freeAddress(), freeAddress()
			p := plantedCommand(t, collector.URL, secrets, append([]string{role, "--token-key-file", key, "--http-listen", address, "--metrics-listen", metrics}, flags...)...)
			p.waitFor("to listen", startPatience, func() error {
				return expectStatus(t, http.MethodGet, "http://"+address+"/readyz", "", nil, http.StatusServiceUnavailable)
			})
			secrets.absentFrom(t, "answers of "+role, askAround(t, "http://"+address, secrets))
			_, content := call(t, http.MethodGet, "http://"+metrics+"/metrics", "", nil)
			secrets.absentFrom(t, "metrics of "+role, content)
			secrets.absentFrom(t, "command lines of "+role, commandLines(t, p.cmd.Process.Pid))
			p.dump()
			secrets.absentFrom(t, "output of "+role, []byte(p.stdout.String()+p.stderr.String()))
		}
		for _, command := range [][]string{
			append(append([]string{"audit"}, toKafka...), toClickHouse...),
			{"import", "--url", to[1], "--token-file", token, "--retry-for", "1ns", traceFile},
			{"query", "--token-key-file", clickhousePassword, "--clickhouse", to[1], "--http-listen", "127.0.0.1:0"},
			{"query", "--token-key-file", key, "--clickhouse", to[1], "--http-listen", "127.0.0.1:0", "--tls-cert", tlsKey, "--tls-key", cert},
			{"ingest", "--token-key-file", key, "--kafka", to[0], "--http-listen", "127.0.0.1:0", "--conversation-key-file", tlsKey + "none"},
		} {
			cmd := exec.CommandContext(t.Context(), binary, command...)
			cmd.Env = append(os.Environ(), "AGENTMETER_LOG_LEVEL=debug")
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Errorf("%v succeeds", command)
			}
			secrets.absentFrom(t, fmt.Sprintf("output of %v", command), out)
		}
	}

	// What is said about settings does not say what they are.
	for _, command := range []string{"run", "ingest", "query", "rollup", "audit", "import", "token"} {
		cmd := exec.CommandContext(t.Context(), binary, command, "--help")
		cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20"+secrets["header of traces"])
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		secrets.absentFrom(t, command+" --help", out)
	}
	mu.Lock()
	defer mu.Unlock()
	if traces.Len() == 0 || !authorized {
		t.Errorf("%d bytes of traces were sent, with their header: %t", traces.Len(), authorized)
	}
	secrets.absentFrom(t, "traces", traces.Bytes())
}

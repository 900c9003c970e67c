package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"agentmeter/internal/slowtest"
)

// readmeBlock is a fenced block of the README's.
var readmeBlock = regexp.MustCompile("(?ms)^```(sh|json)\n(.*?)^```$")

// readmeVariable is a block's first line that sets a variable for those below.
var readmeVariable = regexp.MustCompile(`^[A-Z]+=\$\(.*\)\n`)

// TestReadmeCommandsDoWhatItSays runs the README's commands as they are written,
// one shell for all, beside an instance on free ports; only the addresses differ,
// and that Go programs are run from the clone, while the data lies elsewhere.
// What stands below a command as JSON is what it has to print.
func TestReadmeCommandsDoWhatItSays(t *testing.T) {
	slowtest.Begin(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"bash", "curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv(browserVariable) == "1" { // where nothing may be missing
				t.Fatalf("the README's commands need %s: %v", tool, err)
			}
			t.Skipf("SKIPPED WITHOUT %s: the README's commands need it", tool)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"bin/agentmeter": binary, "testdata": filepath.Join(root, "testdata")} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	i := runOn(t, filepath.Join(dir, "data"), "--demo") // as make run does
	began := time.Now().UTC().Day()
	asHere := strings.NewReplacer("http://127.0.0.1:8080", i.endpoints.HTTP, "127.0.0.1:9092", i.endpoints.Kafka, "go run ./", "go run -C '"+root+"' ./")
	before, ran := "", 0
	blocks := readmeBlock.FindAllStringSubmatch(string(readme), -1)
	for n, block := range blocks {
		if block[1] != "sh" || strings.HasPrefix(block[2], "make ") {
			continue
		}
		ran++
		var want string
		if n+1 < len(blocks) && blocks[n+1][1] == "json" {
			want = blocks[n+1][2]
		}
		var commands string
		i.waitFor("to answer\n"+block[2], countPatience, func() error {
			commands = asHere.Replace(block[2])
			if time.Now().UTC().Day() != began { // what was sent before midnight is not of today any more
				commands = strings.ReplaceAll(commands, "range=today", "range=7d")
			}
			stdout, err := inShell(t, dir, before, commands)
			if err != nil || want == "" {
				return err
			}
			return saysTheSame(stdout, want)
		})
		before += readmeVariable.FindString(commands)
	}
	if ran < 7 {
		t.Errorf("%d of the README's blocks were run; it has more", ran)
	}
}

// inShell runs commands after those that are needed before, and returns what
// they print.
func inShell(t *testing.T, dir, before, commands string) (string, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail", "-c", before+commands)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s%s", err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// saysTheSame compares two JSON documents; times may differ.
func saysTheSame(got, want string) error {
	parse := func(text string) (map[string]any, error) {
		var document map[string]any
		if err := json.Unmarshal([]byte(text), &document); err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		if _, told := document["as_of"]; told {
			document["as_of"] = "a time"
		}
		return document, nil
	}
	was, err := parse(got)
	if err != nil {
		return err
	}
	expected, err := parse(want)
	if err != nil {
		return err
	}
	// Keys of maps are sorted on the way out.
	a, err := json.Marshal(was)
	if err != nil {
		return err
	}
	b, err := json.Marshal(expected)
	if err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		return fmt.Errorf("it prints %s, and the README says %s", got, want)
	}
	return nil
}

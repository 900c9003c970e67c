package crash

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const repository = "../.."

// mentioned are the names in docs/faults.md that match a pattern.
func mentioned(t *testing.T, pattern string) []string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(repository, "docs", "faults.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`("+pattern+")`").FindAllStringSubmatch(string(page), -1)
	if len(names) == 0 {
		t.Fatalf("the page names nothing like %s", pattern)
	}
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = name[1]
	}
	return all
}

func TestDocumentedTestsExist(t *testing.T) {
	defined := make(map[string]bool)
	definition := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
	err := filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "node_modules":
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		source, err := os.ReadFile(path)
		for _, name := range definition.FindAllStringSubmatch(string(source), -1) {
			defined[name[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range mentioned(t, `Test[A-Za-z0-9_]+`) {
		if !defined[name] {
			t.Errorf("%s shows a fault in docs/faults.md, and there is no such test", name)
		}
	}
}

func TestDocumentedAlertsExist(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(repository, "deploy", "prometheus", "alerts", "*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var rules strings.Builder
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rules.Write(content)
	}
	for _, name := range mentioned(t, `Agentmeter[A-Za-z]+`) {
		if !strings.Contains(rules.String(), "- alert: "+name+"\n") {
			t.Errorf("%s is told to the operator in docs/faults.md, and there is no such alert", name)
		}
	}
}

package monitoring

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// RuleFiles are the files of rules in a folder, without their tests.
func RuleFiles(dir string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(dir, "*.yml"))
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	var files []string
	for _, file := range all {
		if !strings.HasSuffix(file, "_test.yml") {
			files = append(files, file)
		}
	}
	return files, nil
}

// ReadRules reads all rules of a folder.
func ReadRules(dir string) ([]Rule, error) {
	files, err := RuleFiles(dir)
	if err != nil {
		return nil, err
	}
	var rules []Rule
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
		var document struct {
			Groups []struct{ Rules []Rule }
		}
		if err := yaml.Unmarshal(content, &document); err != nil {
			return nil, fmt.Errorf("rules: %s: %w", file, err)
		}
		for _, group := range document.Groups {
			rules = append(rules, group.Rules...)
		}
	}
	return rules, nil
}

package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const dependenciesDocument = "../../docs/dependencies.md"

// given are the licences of what is given on; own use may be of others, too.
var (
	givenOn = []string{"Apache-2.0", "MIT", "BSD-3-Clause", "ISC", "MPL-2.0", "MIT OR Apache-2.0"}
	ownUse  = append([]string{"GPL-3.0"}, givenOn...)
)

// dependency is a line of the document.
type dependency struct{ section, licence, why string }

func documented(t *testing.T) map[string]dependency {
	t.Helper()
	content, err := os.ReadFile(dependenciesDocument)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile("^\\| `([^`]+)` \\| ([^|]+) \\| ([^|]+) \\|$")
	lines := make(map[string]dependency)
	section := ""
	for text := range strings.Lines(string(content)) {
		text = strings.TrimSuffix(text, "\n")
		if heading, ok := strings.CutPrefix(text, "## "); ok {
			section = heading
		}
		if match := line.FindStringSubmatch(text); match != nil {
			if _, twice := lines[match[1]]; twice {
				t.Errorf("%s has two lines", match[1])
			}
			lines[match[1]] = dependency{section, match[2], match[3]}
		}
	}
	return lines
}

// phrases that no other licence has, and all of which one has.
var phrases = []struct {
	licence string
	all     []string
}{
	{"GPL-3.0", []string{"GNU GENERAL PUBLIC LICENSE", "Version 3"}},
	{"MPL-2.0", []string{"Mozilla Public License", "2.0"}},
	{"Apache-2.0", []string{"Apache License", "Version 2.0"}},
	{"BSD-3-Clause", []string{"Redistribution and use in source and binary forms", "Redistributions in binary form", "endorse or promote"}},
	{"ISC", []string{"Permission to use, copy, modify, and", "distribute this software for any"}},
	{"MIT", []string{"Permission is hereby granted, free of charge", "THE SOFTWARE IS PROVIDED \"AS IS\""}},
}

// licenceIn tells the licence that a module's directory holds. Where there are
// several, as of code that was taken over, it is the first above.
func licenceIn(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		name := strings.ToLower(entry.Name())
		if entry.IsDir() || !strings.HasPrefix(name, "licen") && !strings.HasPrefix(name, "copying") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return "", err
		}
		text := strings.Join(strings.Fields(string(content)), " ")
		for _, known := range phrases {
			if !slices.ContainsFunc(known.all, func(phrase string) bool { return !strings.Contains(text, phrase) }) {
				return known.licence, nil
			}
		}
		return "", fmt.Errorf("%s: none that is known", filepath.Join(dir, entry.Name()))
	}
	return "", errors.New("no licence in " + dir)
}

func goCommand(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Dir = dir
	out, err := command.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go %v in %s: %v\n%s", args, dir, err, exit.Stderr)
		}
		t.Fatalf("go %v in %s: %v", args, dir, err)
	}
	return out
}

// directModules are those that a module asks for itself: what it imports, or the
// tools that it pins.
func directModules(t *testing.T, dir string) []string {
	t.Helper()
	type tool struct {
		Path string `json:"Path"`
	}
	var file struct {
		Require []struct {
			Path     string `json:"Path"`
			Indirect bool   `json:"Indirect"`
		} `json:"Require"`
		Tool []tool `json:"Tool"`
	}
	if err := json.Unmarshal(goCommand(t, dir, "mod", "edit", "-json"), &file); err != nil {
		t.Fatal(err)
	}
	var direct []string
	for _, required := range file.Require {
		ofTool := slices.ContainsFunc(file.Tool, func(tool tool) bool {
			return tool.Path == required.Path || strings.HasPrefix(tool.Path, required.Path+"/")
		})
		if !required.Indirect || ofTool {
			direct = append(direct, required.Path)
		}
	}
	return direct
}

// TestEveryDependencyHasItsReasonAndALicence holds docs/dependencies.md to what is
// asked for, and the licences to what lies on disk.
func TestEveryDependencyHasItsReasonAndALicence(t *testing.T) {
	lines := documented(t)
	found := make(map[string]bool)
	check := func(name, licence string) {
		t.Helper()
		found[name] = true
		line, ok := lines[name]
		if !ok {
			t.Errorf("%s has no line in %s: say why it is there, and under which licence (%s)", name, dependenciesDocument, licence)
			return
		}
		if licence != "" && licence != line.licence {
			t.Errorf("%s: its licence is %s, its line says %s", name, licence, line.licence)
		}
		allowed := givenOn
		if !strings.Contains(line.section, "in the p") { // product, page
			allowed = ownUse
		}
		if !slices.Contains(allowed, line.licence) {
			t.Errorf("%s: %s is not a licence that we take for %q", name, line.licence, line.section)
		}
		if len(line.why) < 5 {
			t.Errorf("%s: why?", name)
		}
	}

	for _, dir := range []string{"../..", "../../deploy/check", "../tools"} {
		modules := directModules(t, dir)
		decoder := json.NewDecoder(strings.NewReader(string(goCommand(t, dir, append([]string{"mod", "download", "-json"}, modules...)...))))
		for {
			var module struct {
				Path string `json:"Path"`
				Dir  string `json:"Dir"`
			}
			if err := decoder.Decode(&module); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			licence, err := licenceIn(module.Dir)
			if err != nil {
				t.Errorf("%s: %v", module.Path, err)
			}
			check(module.Path, licence)
		}
	}

	var manifest struct{ Dependencies, DevDependencies map[string]string }
	var lock npmLock
	readJSON(t, "../../query/page/package.json", &manifest)
	readJSON(t, "../../query/page/package-lock.json", &lock)
	for _, direct := range []map[string]string{manifest.Dependencies, manifest.DevDependencies} {
		for name := range direct {
			check(name, lock.Packages["node_modules/"+name].License)
		}
	}
	for name := range manifest.Dependencies {
		if !strings.Contains(lines[name].section, "in the page") {
			t.Errorf("%s is in the page, its line is among those %q", name, lines[name].section)
		}
	}
	check("@chdb/lib-linux-x64-gnu", "")

	requirements, err := os.ReadFile("../tools/fuzzapi/requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	pinned := regexp.MustCompile(`(?m)^([A-Za-z0-9._-]+)==[^\\\n]+\\\n    --hash=sha256:`)
	if all := regexp.MustCompile(`(?m)^[A-Za-z0-9]`).FindAllString(string(requirements), -1); len(all) != len(pinned.FindAllString(string(requirements), -1)) {
		t.Errorf("requirements.txt: %d packages, not all are pinned with a hash", len(all))
	}
	check("schemathesis", "")
	pom, err := os.ReadFile("../tools/kafka/pom.xml")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`<dependency>\s*<groupId>([^<]+)</groupId>\s*<artifactId>([^<]+)</artifactId>\s*<version>[0-9.]+</version>`).FindAllStringSubmatch(string(pom), -1) {
		check(match[1]+":"+match[2], "")
	}
	for name := range lines {
		if !found[name] {
			t.Errorf("%s has a line, and nothing asks for it", name)
		}
	}
}

type npmLock struct {
	Packages map[string]struct {
		Version, Integrity, License string
		Link                        bool
	}
}

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// Without its hash a package may be another one the next time.
func TestEveryPackageOfThePageIsPinnedByItsHash(t *testing.T) {
	var lock npmLock
	readJSON(t, "../../query/page/package-lock.json", &lock)
	if len(lock.Packages) < 50 {
		t.Fatalf("%d packages", len(lock.Packages))
	}
	for name, locked := range lock.Packages {
		if name != "" && !strings.HasPrefix(locked.Integrity, "sha512-") {
			t.Errorf("%s %s has no SHA-512 in package-lock.json", strings.TrimPrefix(name, "node_modules/"), locked.Version)
		}
		if name != "" && !slices.Contains([]string{"Python-2.0", "0BSD", "CC0-1.0", "(MIT OR CC0-1.0)", "BlueOak-1.0.0"}, locked.License) && !slices.Contains(givenOn, locked.License) {
			t.Errorf("%s has the licence %q", strings.TrimPrefix(name, "node_modules/"), locked.License)
		}
	}
}

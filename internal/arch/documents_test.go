package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Code spans of the documentation that name a place in the repository: a file or
// folder that stands somewhere below its root, and perhaps what a Go file
// declares.
var (
	codeSpan = regexp.MustCompile("`([A-Za-z0-9_.-]+/[A-Za-z0-9_./-]*)(?::([A-Za-z][A-Za-z0-9_.]*))?`")
	nameIn   = regexp.MustCompile("`([A-Za-z][A-Za-z0-9_.]*)`\\s+in\\s+`([A-Za-z0-9_.-]+/[A-Za-z0-9_./-]*\\.go)`")
	fence    = regexp.MustCompile("(?ms)^```.*?^```$")
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	noAnchor = regexp.MustCompile("[^a-z0-9 _-]")
	seriesOf = regexp.MustCompile(`_(bucket|count|sum)$`) // of a histogram
	metric   = regexp.MustCompile(`\bagentmeter_[a-z0-9]+_[a-z0-9_]*[a-z0-9]`)
)

// documents are all that people read: each Markdown file of the repository, and
// what those see who open an issue.
func documents(t *testing.T, root string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", ".cache", "bin", "data", "dist", "node_modules"}, entry.Name()) {
			return filepath.SkipDir // not of the repository
		}
		if strings.HasSuffix(path, ".md") || !entry.IsDir() && strings.HasPrefix(path, filepath.Join(root, ".github")) {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// places are the places that a text names. Spans that are no path of ours, such
// as routes and mounts, begin with a slash or name no folder of the root.
func places(root, text string) (named [][2]string) {
	text = fence.ReplaceAllString(text, "")
	spans := codeSpan.FindAllStringSubmatch(text, -1)
	for _, span := range nameIn.FindAllStringSubmatch(text, -1) {
		spans = append(spans, []string{span[0], span[2], span[1]})
	}
	for _, span := range spans {
		first, _, _ := strings.Cut(span[1], "/")
		if info, err := os.Stat(filepath.Join(root, first)); err == nil && info.IsDir() {
			named = append(named, [2]string{span[1], span[2]})
		}
	}
	return named
}

// declares reports whether a Go file declares a function, method or type of that
// name. A name with a point is a method with its type.
func declares(path, name string) (bool, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return false, err
	}
	receiver, method, qualified := strings.Cut(name, ".")
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if !qualified && d.Name.Name == name {
				return true, nil
			}
			if qualified && d.Name.Name == method && d.Recv != nil && receiverName(d.Recv.List[0].Type) == receiver {
				return true, nil
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.Name == name {
						return true, nil
					}
				case *ast.ValueSpec:
					for _, n := range s.Names {
						if n.Name == name {
							return true, nil
						}
					}
				}
			}
		}
	}
	return false, nil
}

// cutQualified splits what is written like schemas/clickhouse.Cluster: a package
// and what it declares.
func cutQualified(path string) (folder, name string, ok bool) {
	if _, err := os.Stat(path); err == nil {
		return "", "", false
	}
	base := filepath.Base(path)
	first, name, ok := strings.Cut(base, ".")
	folder = filepath.Join(filepath.Dir(path), first)
	info, err := os.Stat(folder)
	return folder, name, ok && err == nil && info.IsDir()
}

func packageDeclares(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if ok, err := declares(file, name); err != nil {
			t.Fatal(err)
		} else if ok {
			return true
		}
	}
	return false
}

func receiverName(expr ast.Expr) string {
	if star, ok := expr.(*ast.StarExpr); ok {
		expr = star.X
	}
	if ident, ok := expr.(*ast.Ident); ok {
		return ident.Name
	}
	return ""
}

func TestThePlacesThatDocumentsNameExist(t *testing.T) {
	const root = "../.."
	checked, functions := 0, 0
	for _, document := range documents(t, root) {
		// What is not named from the root is named from where the document stands.
		for _, base := range slices.Compact([]string{root, filepath.Dir(document)}) {
			for _, place := range places(base, read(t, document)) {
				checked++
				declaration, wrong := check(t, filepath.Join(base, place[0]), place[1])
				if declaration {
					functions++
				}
				if wrong != "" {
					t.Errorf("%s names %s", document, wrong)
				}
			}
		}
	}
	if checked < 150 || functions < 40 {
		t.Errorf("%d places and %d declarations were found; the documents name more", checked, functions)
	}
}

// check says what is wrong with a place, and whether it is one of a declaration.
func check(t *testing.T, path, name string) (declaration bool, wrong string) {
	t.Helper()
	if folder, name, ok := cutQualified(path); ok {
		if !packageDeclares(t, folder, name) {
			return true, path + ", which " + folder + " does not declare"
		}
		return true, ""
	}
	if _, err := os.Stat(path); err != nil {
		return false, path + ", which is not there"
	}
	if name == "" || !strings.HasSuffix(path, ".go") {
		return false, ""
	}
	if ok, err := declares(path, name); err != nil {
		t.Fatal(err)
	} else if !ok {
		return true, path + ":" + name + ", which is not declared there"
	}
	return true, ""
}

// A metric that a document speaks of stands in the table of those that processes
// export, which internal/e2e writes.
func TestTheMetricsThatDocumentsNameExist(t *testing.T) {
	const root = "../.."
	_, table, found := strings.Cut(read(t, filepath.Join(root, "docs", "operations", "monitoring.md")), "<!-- metrics: ")
	table, _, _ = strings.Cut(table, "<!-- metrics end")
	exported := map[string]bool{}
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			exported[metric.FindString(cells[1])] = true
		}
	}
	if !found || len(exported) < 50 {
		t.Fatalf("the table has %d metrics", len(exported))
	}
	for _, document := range documents(t, root) {
		for _, name := range metric.FindAllString(read(t, document), -1) {
			if !exported[name] && !exported[seriesOf.ReplaceAllString(name, "")] {
				t.Errorf("%s names %s, which no process exports", document, name)
			}
		}
	}
}

// Links lead somewhere.
func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	const root = "../.."
	for _, document := range documents(t, root) {
		for _, found := range link.FindAllStringSubmatch(fence.ReplaceAllString(read(t, document), ""), -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(found[1], "#")
			target := document
			if path != "" {
				target = filepath.Join(filepath.Dir(document), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s is not there", document, found[1])
			} else if anchor != "" && !hasHeading(read(t, target), anchor) {
				t.Errorf("%s: %s has no such heading", document, found[1])
			}
		}
	}
}

func hasHeading(text, anchor string) bool {
	for _, found := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		if strings.ReplaceAll(noAnchor.ReplaceAllString(strings.ToLower(found[1]), ""), " ", "-") == anchor {
			return true
		}
	}
	return false
}

// Whoever looks for something looks into the table of docs/ARCHITECTURE.md first.
func TestEveryPackageStandsInTheTableOfWhereThingsLive(t *testing.T) {
	const root = "../.."
	_, section, _ := strings.Cut(read(t, filepath.Join(root, "docs", "ARCHITECTURE.md")), "\n## Where things live\n")
	section, _, found := strings.Cut(section, "\n## ")
	if !found {
		t.Fatal("docs/ARCHITECTURE.md has no section \"Where things live\"")
	}
	var folders []string
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, place := range places(root, cells[1]) {
				folders = append(folders, strings.TrimSuffix(place[0], "/"))
			}
		}
	}
	for name := range rules {
		if !slices.ContainsFunc(folders, func(folder string) bool { return covers(folder, name) || covers(folder+"/", name) }) {
			t.Errorf("%s stands in no row of the table", name)
		}
	}
}

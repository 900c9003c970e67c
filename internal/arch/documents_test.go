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
	fence    = regexp.MustCompile("(?ms)^```.*?^```$")
)

// places are the places that a text names. Spans that are no path of ours, such
// as routes and mounts, begin with a slash or name no folder of the root.
func places(root, text string) (named [][2]string) {
	for _, span := range codeSpan.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
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
	documents := []string{root + "/README.md", root + "/CONTRIBUTING.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			documents = append(documents, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	checked, functions := 0, 0
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range places(root, string(text)) {
			path := filepath.Join(root, place[0])
			checked++
			if folder, name, ok := cutQualified(path); ok {
				functions++
				if !packageDeclares(t, folder, name) {
					t.Errorf("%s names %s, which %s does not declare", document, name, folder)
				}
				continue
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s names %s, which is not there", document, place[0])
				continue
			}
			if place[1] == "" || !strings.HasSuffix(path, ".go") {
				continue
			}
			functions++
			if ok, err := declares(path, place[1]); err != nil || !ok {
				t.Errorf("%s names %s:%s, which is not declared there, %v", document, place[0], place[1], err)
			}
		}
	}
	if checked < 40 || functions < 10 {
		t.Errorf("%d places and %d declarations were found; the documents name more", checked, functions)
	}
}

// Whoever looks for something looks into the table of docs/ARCHITECTURE.md first.
func TestEveryPackageStandsInTheTableOfWhereThingsLive(t *testing.T) {
	const root = "../.."
	text, err := os.ReadFile(filepath.Join(root, "docs", "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Where things live\n")
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

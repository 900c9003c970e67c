package main

import (
	"cmp"
	"flag"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"agentmeter/ingest"
	"agentmeter/query"
	"agentmeter/rollup"
)

var update = flag.Bool("update", false, "write the documents that tests hold to the program anew")

const (
	configurationDocument = "../../docs/operations/configuration.md"

	settingsBegin = "<!-- settings: written by go test ./cmd/agentmeter -run TestConfiguration -update -->\n"
	settingsEnd   = "<!-- settings end -->\n"
)

// setting is one flag as some commands have it.
type setting struct {
	name, env, fallback, values, help string
	commands                          []string
}

// settings lists every flag once for each meaning that it has.
func settings(t *testing.T) []*setting {
	t.Helper()
	type meaning struct{ name, fallback, help string }
	found := make(map[meaning]*setting)
	for _, node := range commands(t) {
		for _, flag := range node.Flags {
			if flag.Name == "help" {
				continue
			}
			of := meaning{flag.Name, fallbackOf(flag), flag.Help}
			if found[of] == nil {
				found[of] = &setting{name: flag.Name, env: strings.Join(flag.Envs, ""), fallback: of.fallback, values: valuesOf(flag), help: flag.Help}
			}
			found[of].commands = append(found[of].commands, strings.TrimPrefix(node.FullPath(), "agentmeter "))
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b *setting) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.commands[0], b.commands[0]))
	})
}

// fallbackOf is the default as the table shows it, which is a flag's own and
// never what is set where the table is written.
func fallbackOf(flag *kong.Flag) string {
	switch {
	case flag.Required:
		return "required"
	case flag.HasDefault && flag.Default != "":
		return "`" + flag.Default + "`"
	case flag.IsBool():
		return "`false`"
	default:
		return "–"
	}
}

func valuesOf(flag *kong.Flag) string {
	switch {
	case flag.Enum != "" || flag.IsBool():
		return ""
	case flag.PlaceHolder != "" && flag.IsSlice():
		return flag.PlaceHolder + ",…"
	case flag.PlaceHolder != "":
		return flag.PlaceHolder
	default:
		return strings.ToUpper(flag.Target.Type().Name())
	}
}

func settingsTable(all []*setting) string {
	var table strings.Builder
	table.WriteString("| flag | environment | default | what it does | commands |\n|---|---|---|---|---|\n")
	cell := strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ")
	for _, s := range all {
		name := "`--" + s.name
		if s.values != "" {
			name += " " + s.values
		}
		env := "–"
		if s.env != "" {
			env = "`" + s.env + "`"
		}
		table.WriteString("| " + strings.Join([]string{
			cell.Replace(name + "`"), env, cell.Replace(s.fallback), cell.Replace(s.help), strings.Join(s.commands, ", "),
		}, " | ") + " |\n")
	}
	return table.String()
}

// What nobody sets is as the packages have it.
func TestFlagsHaveTheDefaultsOfWhatTheyConfigure(t *testing.T) {
	for _, command := range []string{"run", "ingest", "query", "rollup"} {
		var c cli
		parser, err := kong.New(&c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse([]string{command}); err != nil {
			t.Fatal(err)
		}
		same := func(got, want any) {
			t.Helper()
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, want %+v", command, got, want)
			}
		}
		asking, sending, counting := c.Run.queryFlags, c.Run.ingestFlags, c.Run.rollupFlags
		if command != "run" {
			asking, sending, counting = c.Query.queryFlags, c.Ingest.ingestFlags, c.Rollup.rollupFlags
		}
		if command == "run" || command == "query" {
			want := query.DefaultConfig()
			want.Page.TimeFormat = "auto"
			same(asking.config(accessFlags{}), want)
		}
		if command == "run" || command == "ingest" {
			config, err := sending.config()
			if err != nil {
				t.Fatal(err)
			}
			same(config, ingest.DefaultConfig())
		}
		if command == "run" || command == "rollup" {
			same(counting.config(), rollup.DefaultConfig())
		}
	}
}

// TestConfigurationIsDocumented holds the table of settings to the flags.
func TestConfigurationIsDocumented(t *testing.T) {
	for _, s := range settings(t) { // a table shows no secret that somebody has set
		if s.env != "" {
			t.Setenv(s.env, "secret")
		}
	}
	content, err := os.ReadFile(configurationDocument)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(content), settingsBegin)
	_, after, ends := strings.Cut(rest, settingsEnd)
	if !begins || !ends {
		t.Fatalf("%s has no place for the table: a line %q and a line %q", configurationDocument, settingsBegin, settingsEnd)
	}
	want := before + settingsBegin + settingsTable(settings(t)) + settingsEnd + after
	if want == string(content) {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the flags are: go test ./cmd/agentmeter -run TestConfiguration -update", configurationDocument)
	}
	if err := os.WriteFile(configurationDocument, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"agentmeter": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}

func commands(t *testing.T) []*kong.Node {
	t.Helper()
	parser, err := kong.New(&cli{}, kong.DefaultEnvars("AGENTMETER"))
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*kong.Node
	for _, node := range parser.Model.Children {
		if !node.Hidden {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

func TestEachCommandExplainsItselfWithAnExample(t *testing.T) {
	for _, node := range commands(t) {
		if node.Name == "version" {
			continue
		}
		if !strings.Contains(node.Detail, "agentmeter "+node.Name) {
			t.Errorf("agentmeter %s --help has no example", node.Name)
		}
	}
}

func TestEachFlagHasItsEnvironmentTwinAndAnExplanation(t *testing.T) {
	for _, node := range commands(t) {
		for _, flag := range node.Flags {
			if flag.Name == "help" {
				continue
			}
			want := "AGENTMETER_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
			if len(flag.Envs) != 1 || flag.Envs[0] != want {
				t.Errorf("agentmeter %s --%s: environment %v, want %s", node.Name, flag.Name, flag.Envs, want)
			}
			if flag.Help == "" {
				t.Errorf("agentmeter %s --%s is not explained", node.Name, flag.Name)
			}
		}
	}
}

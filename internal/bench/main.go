package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", "bench-results.json", "where the figures are written")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return 2
	}
	var results []result
	failed := false
	for _, s := range suites {
		measured, err := s.measure(ctx, stderr)
		if err != nil {
			fmt.Fprintf(stderr, "bench: %s: %v\n", s.pkg, err)
			failed = true
		}
		for _, f := range s.figures {
			r, err := f.result(measured)
			if err != nil {
				fmt.Fprintf(stderr, "bench: %v\n", err)
				failed = true
				continue
			}
			results = append(results, r)
		}
	}
	if err := errors.Join(write(*out, results), table(stdout, results)); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		failed = true
	}
	if failed {
		return 1
	}
	return 0
}

// measurements are what benchmarks reported: benchmark, then unit.
type measurements map[string]map[string]float64

// measure runs the suite's benchmarks, once each.
func (s suite) measure(ctx context.Context, log io.Writer) (measurements, error) {
	command := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", s.bench, "-benchtime", "1x", "-timeout", "30m", s.pkg) //nolint:gosec // the suites below
	var output bytes.Buffer
	command.Stdout, command.Stderr = io.MultiWriter(&output, log), log
	err := command.Run()
	return parse(&output), err
}

// parse reads the lines of go test -bench.
func parse(output io.Reader) measurements {
	all := make(measurements)
	scanner := bufio.NewScanner(output)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if cut := strings.LastIndexByte(name, '-'); cut > 0 { // GOMAXPROCS
			name = name[:cut]
		}
		units := make(map[string]float64)
		for i := 2; i+1 < len(fields); i += 2 {
			if value, err := strconv.ParseFloat(fields[i], 64); err == nil {
				units[fields[i+1]] = value
			}
		}
		all[name] = units
	}
	return all
}

// result is one figure, as other tools read it.
type result struct {
	Name           string   `json:"name"`
	Value          float64  `json:"value"`
	Unit           string   `json:"unit"`
	Reference      string   `json:"reference"`
	ReferenceValue *float64 `json:"reference_value"`
	Ratio          *float64 `json:"ratio"`
	Goal           string   `json:"goal"`
	MeetsGoal      *bool    `json:"meets_goal"`
}

func (f figure) result(measured measurements) (result, error) {
	read := func(unit string) (float64, error) {
		value, ok := measured[f.benchmark][unit]
		if !ok {
			return 0, fmt.Errorf("%s: Benchmark%s reported no %s", f.name, f.benchmark, unit)
		}
		return value, nil
	}
	r := result{Name: f.name, Unit: f.unit, Reference: f.reference}
	var err error
	if r.Value, err = read(f.metric); err != nil {
		return r, err
	}
	judged := r.Value
	if f.referenceMetric != "" {
		reference, err := read(f.referenceMetric)
		if err != nil {
			return r, err
		}
		ratio, err := read(f.ratioMetric)
		if err != nil {
			return r, err
		}
		r.ReferenceValue, r.Ratio, judged = &reference, &ratio, ratio
	}
	switch {
	case f.atLeast > 0:
		met := judged >= f.atLeast
		r.Goal, r.MeetsGoal = "≥ "+number(f.atLeast), &met
	case f.atMost > 0:
		met := judged <= f.atMost
		r.Goal, r.MeetsGoal = "≤ "+number(f.atMost), &met
	}
	return r, nil
}

func number(v float64) string {
	precision := 3
	if v >= 1000 {
		precision = 0
	}
	text := strconv.FormatFloat(v, 'f', precision, 64)
	if precision > 0 {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	return text
}

func table(w io.Writer, results []result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\tmeasured\tunit\treference\tratio\tgoal\tmet")
	for _, r := range results {
		reference, ratio, met := "–", "–", "–"
		if r.ReferenceValue != nil {
			reference, ratio = number(*r.ReferenceValue)+" ("+r.Reference+")", number(*r.Ratio)
		}
		if r.MeetsGoal != nil {
			met = map[bool]string{true: "yes", false: "NO"}[*r.MeetsGoal]
		}
		goal := r.Goal
		if goal == "" {
			goal = "–"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, number(r.Value), r.Unit, reference, ratio, goal, met)
	}
	return t.Flush()
}

func write(path string, results []result) error {
	if results == nil {
		results = []result{}
	}
	encoded, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	return os.WriteFile(path, append(encoded, '\n'), 0o644) //nolint:gosec // for everybody to read
}

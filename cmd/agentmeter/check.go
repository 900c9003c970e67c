package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
)

// checker is a command, or a group of flags, that knows what is wrong with its
// settings. A command is asked before it runs, always, so that nothing has been
// started, made or sent when it is told. What it reads of its flags it keeps, and
// that is what it then runs by.
//
// What is wrong with the value of a flag is told by the flag's name, as in
// "--http-listen: …", wherever it is found: here, or in the Validate of the package
// that the flag configures. It has to be a flag that the command has.
type checker interface{ check() error }

// check asks several.
func check(settings ...checker) error {
	faults := make([]error, len(settings))
	for i, s := range settings {
		faults[i] = s.check()
	}
	return errors.Join(faults...)
}

// refuse says what is wrong with the command line and the environment, and returns
// the exit code for it.
func refuse(stderr io.Writer, parsed *kong.Context, err error) int {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(stderr, "agentmeter: %s\n", strings.TrimRight(line, "\n"))
	}
	if parsed != nil {
		for _, name := range fromEnvironment(parsed, err.Error()) {
			fmt.Fprintf(stderr, "agentmeter: %s\n", name)
		}
	}
	return exitUnclear
}

// fromEnvironment says of each flag in a text which variable it was given by, or
// could have been.
func fromEnvironment(parsed *kong.Context, text string) (said []string) {
	for _, flag := range parsed.Flags() {
		if onCommandLine(parsed, flag.Name) || len(flag.Envs) == 0 || !namesFlag(text, flag.Name) {
			continue
		}
		if _, set := os.LookupEnv(flag.Envs[0]); set {
			said = append(said, fmt.Sprintf("--%s was given by the environment, as %s", flag.Name, flag.Envs[0]))
		} else if flag.Required {
			said = append(said, fmt.Sprintf("--%s can be given by the environment, too, as %s", flag.Name, flag.Envs[0]))
		}
	}
	return said
}

// onCommandLine reports whether any of some flags was given there.
func onCommandLine(parsed *kong.Context, names ...string) bool {
	return slices.ContainsFunc(parsed.Path, func(p *kong.Path) bool { return p.Flag != nil && slices.Contains(names, p.Flag.Name) })
}

// forgetEnvironment takes back what the environment says by flags whose names begin
// like that.
func forgetEnvironment(parsed *kong.Context, prefixes ...string) {
	for _, flag := range parsed.Flags() {
		begins := func(prefix string) bool { return strings.HasPrefix(flag.Name, prefix) }
		if slices.ContainsFunc(prefixes, begins) && !onCommandLine(parsed, flag.Name) {
			flag.Target.SetZero()
		}
	}
}

// namesFlag reports whether a text names a flag, and not only a longer one.
func namesFlag(text, name string) bool {
	for rest := text; ; {
		_, after, found := strings.Cut(rest, "--"+name)
		if !found {
			return false
		}
		if after == "" || !strings.ContainsAny(after[:1], "-abcdefghijklmnopqrstuvwxyz0123456789") {
			return true
		}
		rest = after
	}
}

// named says by which flag a fault was given.
func named(flag string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	return nil
}

// isAddress refuses what is no address of HTTP.
func isAddress(flag, value, example string) error {
	if at, err := url.Parse(value); err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return fmt.Errorf("%s: %q is not an address such as %s", flag, value, example)
	}
	return nil
}

// isWorkspaceID refuses what cannot be a workspace's id.
func isWorkspaceID(flag, id string) error {
	if fault := schemas.ValidateWorkspaceID("workspace", id); fault != nil {
		return fmt.Errorf("%s: %s", flag, fault.Detail)
	}
	return nil
}

// notBelow refuses what is less than a flag takes.
func notBelow[T cmp.Ordered](flag string, value, least T) error {
	if value < least {
		return fmt.Errorf("%s: %v is less than %v", flag, value, least)
	}
	return nil
}

// between refuses what is outside of what a flag takes.
func between[T cmp.Ordered](flag string, value, least, most T) error {
	if value < least || value > most {
		return fmt.Errorf("%s: %v is not between %v and %v", flag, value, least, most)
	}
	return nil
}

// listenable refuses what is no address to listen on.
func listenable(flag, address string, loopbackOnly bool) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %q is not of the form HOST:PORT, such as 127.0.0.1:8080; port 0 takes a free one", flag, address)
	case loopbackOnly && !httpapi.IsLoopbackHost(host):
		return fmt.Errorf("%s: %q is not a loopback address, such as 127.0.0.1:0, and whoever reached it could read and write everything", flag, address)
	}
	return nil
}

// inUse names the flag of an address that somebody else listens on.
func inUse(flag string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; give another address by %s, or port 0 for a free one", err, flag)
	}
	return err
}

// readable refuses a file that cannot be read; none is none.
func readable(flag, file string) error {
	if file == "" {
		return nil
	}
	opened, err := os.Open(file)
	if err != nil {
		return named(flag, err)
	}
	return opened.Close()
}

// withDefault adds the default to the explanation of a flag or argument, which
// kong shows only where there is no placeholder.
func withDefault(value *kong.Value) string {
	shown := *value
	if value.HasDefault && value.Default != "" && value.Flag != nil && value.Flag.PlaceHolder != "" {
		shown.Help = strings.TrimSuffix(value.Help, ".") + ". Default: " + value.Default + "."
	}
	return kong.DefaultHelpValueFormatter(&shown)
}

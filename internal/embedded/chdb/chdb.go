// Package chdb knows where the embedded ClickHouse engine's library is and how
// to get it.
//
// In: an explicit path, the place beside the executable, or the user's cache
// directory. Out: the path of a libchdb that exists. Nothing is loaded here (see
// package engine) and nothing is fetched unless [Fetch] is called: a missing
// library is one [MissingError] that says which command brings it.
//
// The library is ClickHouse itself as a shared object, some 560 MB of it, so it
// is fetched at set-up, checked against a digest that stands in this package,
// kept in a cache and never committed.
package chdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

const (
	// Version is the exact version of the library's npm packages.
	Version = "26.7.3-stable.1"

	// ServerVersion is the ClickHouse that Version is built from; a server that
	// is to behave like the embedded engine has the same major and minor number.
	ServerVersion = "26.7.2.1"

	// ServerImageTag names the ClickHouse server image of the same release line.
	ServerImageTag = "26.7"

	// PathVariable is the environment's way to name a library file.
	PathVariable = "AGENTMETER_ENGINE_LIBRARY"

	// fetchCommand is what every "it is missing" message ends with.
	fetchCommand = "make build (or: go run ./internal/embedded/cmd/fetchengine)"
)

// Platform is one build of the library.
type Platform struct {
	// Name is the platform's part of the package name: linux-x64-gnu.
	Name string
	// Integrity is the package archive's digest as npm states it,
	// "sha512-<base64>". Empty means that nobody could verify this build yet:
	// such a platform is unsupported until someone pins its digest here.
	Integrity string
	// ArchiveBytes is the archive's size, for progress lines.
	ArchiveBytes int64
}

// Package is the npm package that holds the library.
func (p Platform) Package() string { return "@chdb/lib-" + p.Name }

// platforms lists every build that the npm package "chdb" names, by GOOS/GOARCH.
//
// A digest is pinned with `npm view <package>@<Version> dist.integrity`. The
// three builds without one answered "not found" from where this was written.
var platforms = map[string]Platform{
	"linux/amd64": {
		Name:         "linux-x64-gnu",
		Integrity:    "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==",
		ArchiveBytes: 177_817_999,
	},
	"linux/arm64":  {Name: "linux-arm64-gnu"},
	"darwin/arm64": {Name: "darwin-arm64"},
	"darwin/amd64": {Name: "darwin-x64"},
}

// UnsupportedError says that there is no verified library for a platform.
type UnsupportedError struct {
	// OS and Arch are the platform in Go's words.
	OS, Arch string
	// Package is the npm package that may hold its build, empty if there is none.
	Package string
}

func (e *UnsupportedError) Error() string {
	if e.Package == "" {
		return fmt.Sprintf("the embedded ClickHouse engine has no build for %s/%s: "+
			"run agentmeter on %s, or use a ClickHouse server (docs/operations/install.md)", e.OS, e.Arch, supported())
	}
	return fmt.Sprintf("the embedded ClickHouse engine is unsupported on %s/%s until %s@%s is verified: "+
		"run agentmeter on %s, or use a ClickHouse server (docs/operations/install.md); "+
		"or pin the digest that `npm view %s@%s dist.integrity` prints in internal/embedded/chdb, "+
		"or name a library of your own with %s", e.OS, e.Arch, e.Package, Version, supported(), e.Package, Version, PathVariable)
}

// supported lists the platforms whose build was verified.
func supported() string {
	var list []string
	for name, p := range platforms {
		if p.Integrity != "" {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " or ")
}

// MissingError says that the library is not where it should be.
type MissingError struct {
	// Looked lists the places that were tried, in order.
	Looked []string
}

func (e *MissingError) Error() string {
	msg := "the embedded ClickHouse engine's library (libchdb " + Version + ") is missing; get it with " +
		fetchCommand + ", or name a file with " + PathVariable + "; looked at"
	for i, path := range e.Looked {
		if i > 0 {
			msg += ","
		}
		msg += " " + path
	}
	return msg
}

// Current is the platform this program was built for.
func Current() (Platform, error) { return lookup(runtime.GOOS, runtime.GOARCH) }

func lookup(goos, goarch string) (Platform, error) {
	p, ok := platforms[goos+"/"+goarch]
	switch {
	case !ok:
		return Platform{}, &UnsupportedError{OS: goos, Arch: goarch}
	case p.Integrity == "":
		return Platform{}, &UnsupportedError{OS: goos, Arch: goarch, Package: p.Package()}
	}
	return p, nil
}

// CachePath is where [Fetch] puts the library: <user cache>/agentmeter/chdb/<version>/<platform>/libchdb.so.
func CachePath() (string, error) {
	p, err := Current()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("user cache directory: %w", err)
	}
	return filepath.Join(cache, "agentmeter", "chdb", Version, p.Name, "libchdb.so"), nil
}

// BesideName is the library's name beside the executable, so that a copied
// bin directory works whoever runs it.
const BesideName = "libchdb-" + Version + ".so"

// Find returns the library's path: explicit if given (else the environment's),
// then the file beside the executable, then the cache. An explicit path that
// does not exist is an error, never a reason to take another one.
func Find(explicit string) (string, error) {
	if explicit == "" {
		explicit = os.Getenv(PathVariable)
	}
	if explicit != "" {
		found, err := isFile(explicit)
		if err != nil {
			return "", err
		}
		if !found {
			return "", &MissingError{Looked: []string{explicit}}
		}
		return explicit, nil
	}

	var looked []string
	if exe, err := os.Executable(); err == nil {
		looked = append(looked, filepath.Join(filepath.Dir(exe), BesideName))
	}
	cached, cacheErr := CachePath()
	if cacheErr == nil {
		looked = append(looked, cached)
	}
	for _, path := range looked {
		found, err := isFile(path)
		if err != nil {
			return "", err
		}
		if found {
			return path, nil
		}
	}
	var unsupported *UnsupportedError
	switch {
	case errors.As(cacheErr, &unsupported):
		return "", cacheErr
	case cacheErr != nil:
		looked = append(looked, "("+cacheErr.Error()+")")
	}
	return "", &MissingError{Looked: looked}
}

func isFile(path string) (bool, error) {
	info, err := os.Stat(path) //nolint:gosec // the operator names the file
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("engine library: %w", err)
	}
	return info.Mode().IsRegular(), nil
}

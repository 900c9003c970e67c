package chdb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

const contents = "pretend that this is ClickHouse"

// archive is an npm archive with the given members.
func archive(t testing.TB, members map[string]string) (data []byte, integrity string) {
	t.Helper()
	var buf bytes.Buffer
	zipped := gzip.NewWriter(&buf)
	files := tar.NewWriter(zipped)
	for name, body := range members {
		if err := files.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(files.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(buf.Bytes())
	return buf.Bytes(), "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

// newFetcher fetches data, counting how often it is asked to.
func newFetcher(path, integrity string, data []byte, packs *atomic.Int64) *fetcher {
	return &fetcher{
		platform: Platform{Name: "test", Integrity: integrity},
		path:     path,
		progress: io.Discard,
		pack: func(_ context.Context, _ Platform, dir string) (string, error) {
			packs.Add(1)
			file := filepath.Join(dir, "archive.tgz")
			return file, os.WriteFile(file, data, 0o600)
		},
	}
}

// leftovers lists everything below the cache but the library and its lock.
func leftovers(t testing.TB, path string) []string {
	t.Helper()
	var left []string
	entries, err := os.ReadDir(filepath.Dir(filepath.Dir(path)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(filepath.Dir(path)) && !strings.HasSuffix(e.Name(), ".lock") {
			left = append(left, e.Name())
		}
	}
	return left
}

func TestFetchUnpacksWhatTheDigestVouchesFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache", "test", "libchdb.so")
	data, integrity := archive(t, map[string]string{archiveMember: contents, "package/README.md": "x"})
	var packs atomic.Int64
	var progress bytes.Buffer
	f := newFetcher(path, integrity, data, &packs)
	f.progress = &progress
	for range 2 {
		if err := f.run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != contents {
		t.Fatalf("%q, %v", got, err)
	}
	if packs.Load() != 1 {
		t.Errorf("fetched %d times, want once", packs.Load())
	}
	if lines := strings.Count(progress.String(), "\n"); lines != 3 {
		t.Errorf("progress: %q", progress.String())
	}
	if left := leftovers(t, path); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFetchLeavesNothingOfABadArchive(t *testing.T) {
	good, integrity := archive(t, map[string]string{archiveMember: contents})
	tampered, _ := archive(t, map[string]string{archiveMember: contents + "!"})
	empty, emptyIntegrity := archive(t, map[string]string{"package/other": contents})
	for name, test := range map[string]struct {
		data      []byte
		integrity string
	}{
		"another archive":  {tampered, integrity},
		"cut off":          {good[:len(good)-10], integrity},
		"something behind": {append(bytes.Clone(good), 0), integrity},
		"no library":       {empty, emptyIntegrity},
		"not an archive":   {[]byte("<html>"), integrity},
		"no digest":        {good, ""},
		"a weak digest":    {good, "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cache", "test", "libchdb.so")
			var packs atomic.Int64
			if err := newFetcher(path, test.integrity, test.data, &packs).run(t.Context()); err == nil {
				t.Fatal("accepted")
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("the library is there: %v", err)
			}
			if left := leftovers(t, path); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestTwoAtOnceFetchOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache", "test", "libchdb.so")
	data, integrity := archive(t, map[string]string{archiveMember: contents})
	var packs atomic.Int64
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := newFetcher(path, integrity, data, &packs).run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if packs.Load() != 1 {
		t.Errorf("fetched %d times, want once", packs.Load())
	}
}

func TestFindTakesTheExplicitPathOrNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "libchdb.so")
	var missing *MissingError
	if _, err := Find(file); !errors.As(err, &missing) || !strings.Contains(err.Error(), file) {
		t.Fatalf("got %v", err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(file); err != nil || got != file {
		t.Fatalf("got %q, %v", got, err)
	}
	t.Setenv(PathVariable, file)
	if got, err := Find(""); err != nil || got != file {
		t.Fatalf("by the environment: %q, %v", got, err)
	}
}

func TestAMissingLibrarySaysHowToGetIt(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv(PathVariable, "")
	_, err := Find("")
	var missing *MissingError
	if _, unsupported := Current(); unsupported != nil {
		t.Skip(unsupported)
	}
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), fetchCommand) || !strings.Contains(err.Error(), PathVariable) {
		t.Fatalf("got %v", err)
	}
}

func TestUnverifiedPlatformsAreUnsupportedAndSaySo(t *testing.T) {
	for key, p := range platforms {
		goos, goarch, _ := strings.Cut(key, "/")
		got, err := lookup(goos, goarch)
		if p.Integrity != "" {
			if _, parseErr := parseIntegrity(p.Integrity); err != nil || parseErr != nil || got != p {
				t.Errorf("%s: %v, %v", key, err, parseErr)
			}
			continue
		}
		var unsupported *UnsupportedError
		if !errors.As(err, &unsupported) || !strings.Contains(err.Error(), p.Package()) {
			t.Errorf("%s: %v", key, err)
		}
	}
	_, err := lookup("plan9", "mips")
	if err == nil {
		t.Fatal("plan9 is supported")
	}
	for key, p := range platforms { // it leads to none that is not
		if named := strings.Contains(err.Error(), key); named != (p.Integrity != "") {
			t.Errorf("named %s: %v, in %v", key, named, err)
		}
	}
}

func TestLinkPutsTheLibraryBesideAnExecutable(t *testing.T) {
	library := filepath.Join(t.TempDir(), "libchdb.so")
	if err := os.WriteFile(library, []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, BesideName), []byte("an old one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		path, err := Link(library, bin)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != contents {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if entries, err := os.ReadDir(bin); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

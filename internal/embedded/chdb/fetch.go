package chdb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// archiveMember is the library inside the npm archive.
const archiveMember = "package/libchdb.so"

// maxLibraryBytes bounds what an archive may unpack to; the real one is 566 MB.
const maxLibraryBytes = 2 << 30

// Fetch makes sure that the library is in the user's cache and returns its
// path. It is a stat call when the library is there. Otherwise the ordinary
// `npm pack` client brings the archive, whose SHA-512 must be the pinned one
// before anything shows up under the final name. Two at once are safe: the
// second waits for the first. Progress goes to progress as plain lines.
func Fetch(ctx context.Context, progress io.Writer) (string, error) {
	platform, err := Current()
	if err != nil {
		return "", err
	}
	path, err := CachePath()
	if err != nil {
		return "", err
	}
	f := fetcher{platform: platform, path: path, progress: progress, pack: npmPack}
	return path, f.run(ctx)
}

// fetcher is one call of Fetch; pack is a field so that tests bring their own archive.
type fetcher struct {
	platform Platform
	path     string
	progress io.Writer
	// pack puts the platform's archive into dir and returns its path.
	pack func(ctx context.Context, p Platform, dir string) (string, error)
}

func (f *fetcher) run(ctx context.Context) (err error) {
	if found, err := isFile(f.path); found || err != nil {
		return err
	}

	dir := filepath.Dir(f.path)
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // a cache holds nothing secret
		return fmt.Errorf("engine cache: %w", err)
	}
	lock := flock.New(dir + ".lock")
	if _, err := lock.TryLockContext(ctx, lockRetry); err != nil {
		return fmt.Errorf("lock engine cache: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if found, err := isFile(f.path); found || err != nil {
		return err
	}

	tmp, err := os.MkdirTemp(parent, f.platform.Name+".tmp-")
	if err != nil {
		return fmt.Errorf("engine cache: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()

	f.say("fetching %s@%s with npm (%d MB)", f.platform.Package(), Version, f.platform.ArchiveBytes/1e6)
	archive, err := f.pack(ctx, f.platform, tmp)
	if err != nil {
		return err
	}
	f.say("verifying and unpacking %s", filepath.Base(archive))
	library := filepath.Join(tmp, "out", "libchdb.so")
	if err := os.Mkdir(filepath.Dir(library), 0o755); err != nil { //nolint:gosec // a cache holds nothing secret
		return fmt.Errorf("unpack engine library: %w", err)
	}
	if err := unpack(archive, f.platform.Integrity, library); err != nil {
		return fmt.Errorf("unpack engine library: %w", err)
	}

	// The directory appears whole or not at all. A leftover without the library
	// in it can only come from someone's hand and gives way.
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("engine cache: %w", err)
	}
	if err := os.Rename(filepath.Dir(library), dir); err != nil {
		return fmt.Errorf("engine cache: %w", err)
	}
	f.say("engine library ready: %s", f.path)
	return nil
}

func (f *fetcher) say(format string, args ...any) {
	// A progress line that cannot be written is no reason to fail.
	_, _ = fmt.Fprintf(f.progress, format+"\n", args...)
}

// npmPack lets the npm client download the archive, from whatever registry and
// cache it is set up for. Scripts never run: the archive is only stored.
func npmPack(ctx context.Context, p Platform, dir string) (string, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", fmt.Errorf("fetch %s: the npm client is needed once, at set-up: %w", p.Package(), err)
	}
	//nolint:gosec // npm from the PATH, with constants
	cmd := exec.CommandContext(ctx, npm, "pack", p.Package()+"@"+Version,
		"--pack-destination", dir, "--ignore-scripts", "--silent")
	cmd.Dir = dir // so that no project's own configuration takes part
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("npm pack %s@%s: %w: %s", p.Package(), Version, err, lastLine(stderr.String()))
	}
	name := filepath.Base(lastLine(string(out)))
	return filepath.Join(dir, name), nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// unpack writes the archive's library to path if, and only if, the archive has
// the expected digest: the file is removed again when it has not.
func unpack(archive, integrity, path string) (err error) {
	want, err := parseIntegrity(integrity)
	if err != nil {
		return err
	}
	in, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer in.Close()

	digest := sha512.New()
	body := io.TeeReader(in, digest)
	if err := extract(body, path); err != nil {
		return errors.Join(err, os.RemoveAll(path))
	}
	// What follows the library in the archive counts for the digest too.
	if _, err := io.Copy(io.Discard, body); err != nil {
		return errors.Join(err, os.RemoveAll(path))
	}
	if got := digest.Sum(nil); subtle.ConstantTimeCompare(got, want) != 1 {
		return errors.Join(fmt.Errorf("%s has digest sha512-%s, want %s",
			filepath.Base(archive), base64.StdEncoding.EncodeToString(got), integrity), os.RemoveAll(path))
	}
	return nil
}

func parseIntegrity(integrity string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(integrity, "sha512-")
	if !ok {
		return nil, fmt.Errorf("integrity %q is not sha512", integrity)
	}
	sum, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(sum) != sha512.Size {
		return nil, fmt.Errorf("integrity %q is malformed", integrity)
	}
	return sum, nil
}

func extract(archive io.Reader, path string) (err error) {
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		return err
	}
	files := tar.NewReader(unzipped)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("no %s in the archive", archiveMember)
		}
		if err != nil {
			return err
		}
		if header.Name != archiveMember {
			continue
		}
		if header.Size > maxLibraryBytes {
			return fmt.Errorf("%s claims %d bytes", archiveMember, header.Size)
		}
		out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // a library is for everyone to load
		if err != nil {
			return err
		}
		_, err = io.Copy(out, files) //nolint:gosec // bounded by the header's size above
		return errors.Join(err, out.Sync(), out.Close())
	}
}

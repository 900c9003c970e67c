package auth_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"agentmeter/internal/auth"
)

// machine is a process with a key file of its own or shared with others.
func machine(t *testing.T, path string) auth.Key {
	t.Helper()
	key, err := auth.LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func long(t *testing.T, key auth.Key) string {
	t.Helper()
	token, err := key.Mint(auth.Grant{Workspace: "ws_a", Scopes: []auth.Scope{auth.UsageRead}, TTL: 1000 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func holds(t *testing.T, key auth.Key, token string) bool {
	t.Helper()
	_, err := key.Verifier().Verify(t.Context(), token)
	if err != nil && !errors.Is(err, auth.ErrTokenInvalid) {
		t.Fatal(err)
	}
	return err == nil
}

func rotate(t *testing.T, path string, grace time.Duration, prepare bool) auth.Rotation {
	t.Helper()
	rotation, err := auth.RotateKey(path, grace, prepare)
	if err != nil {
		t.Fatal(err)
	}
	return rotation
}

func TestOldTokensAreValidForAGraceTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), auth.KeyFile)
		running := machine(t, path)
		first := long(t, running)
		rotation := rotate(t, path, time.Hour, false)
		second := long(t, running)
		if left := time.Until(rotation.OldEnds); !rotation.Signs || left < time.Hour || left > time.Hour+time.Second {
			t.Errorf("%+v", rotation)
		}
		rotate(t, path, 24*time.Hour, false)
		third := long(t, running)
		for name, token := range map[string]string{"first": first, "second": second, "third": third} {
			if !holds(t, running, token) || !holds(t, machine(t, path), token) {
				t.Errorf("the %s key's token does not hold within the grace time", name)
			}
		}
		<-time.After(time.Hour + time.Second) // of the bubble's own clock
		if holds(t, running, first) || !holds(t, running, second) || !holds(t, running, third) {
			t.Error("an hour later it is not the first key alone that has ended")
		}
		rotate(t, path, 0, false)
		<-time.After(time.Second) // by then running processes have looked
		if holds(t, running, third) || !holds(t, running, second) {
			t.Error("rotated without a grace time, it is not the third key alone that has ended")
		}
		if content, err := os.ReadFile(path); err != nil || len(content) != 32+40 {
			t.Errorf("what has ended is in the file still: %d bytes, %v", len(content), err)
		}
	})
}

// Two processes look at the file at different moments; none may refuse what the
// other signs meanwhile.
func TestNobodyIsRefusedWhileKeysAreRotated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), auth.KeyFile)
	one, other := machine(t, path), machine(t, path)
	old := long(t, one)
	rotated := make(chan struct{})
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for signs, checks := one, other; ; signs, checks = checks, signs {
				token, err := signs.Mint(auth.Grant{Workspace: "ws_a", Scopes: []auth.Scope{auth.UsageRead}, TTL: time.Hour})
				if err != nil {
					t.Error(err)
					return
				}
				for _, token := range []string{token, old} {
					if _, err := checks.Verifier().Verify(context.Background(), token); err != nil {
						t.Errorf("refused while keys were rotated: %v", err)
						return
					}
				}
				select {
				case <-rotated:
					return
				default:
				}
			}
		})
	}
	for range 8 {
		rotate(t, path, time.Hour, false)
	}
	close(rotated)
	running.Wait()
	if _, err := auth.RotateKey(path, time.Hour, false); err == nil || !strings.Contains(err.Error(), "grace time of 0") {
		t.Errorf("a ninth older key: %v", err)
	}
}

// Machines with copies of the file get it one after another.
func TestAPreparedKeyIsKnownBeforeItSigns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	master, a, b := filepath.Join(dir, "master"), filepath.Join(dir, "a"), filepath.Join(dir, "b")
	machine(t, master)
	deploy := func(to string) {
		t.Helper()
		content, err := os.ReadFile(master)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(to+".new", to); err != nil {
			t.Fatal(err)
		}
	}
	deploy(a)
	deploy(b)
	keys := []auth.Key{machine(t, a), machine(t, b)}
	tokens := []string{long(t, keys[0])}
	check := func(when string) {
		t.Helper()
		for _, signs := range keys {
			tokens = append(tokens, long(t, signs))
		}
		for _, key := range keys {
			for _, token := range tokens {
				if !holds(t, key, token) {
					t.Fatalf("%s: one refuses what another signed", when)
				}
			}
		}
	}
	if rotation := rotate(t, master, time.Hour, true); rotation.Signs {
		t.Error("a prepared key signs")
	}
	if _, err := auth.RotateKey(master, time.Hour, true); err == nil {
		t.Error("a second one is prepared")
	}
	check("before")
	deploy(a)
	check("prepared on one")
	deploy(b)
	check("prepared on both")
	rotate(t, master, time.Hour, false)
	deploy(b)
	check("rotated on one")
	deploy(a)
	check("rotated on both")
	if content, err := os.ReadFile(master); err != nil || len(content) != 32+40 {
		t.Errorf("%d bytes, %v", len(content), err)
	}
}

func TestAKeyFileThatIsGoneOrDamagedEndsNoTokens(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), auth.KeyFile)
	key := machine(t, path)
	var log bytes.Buffer
	key.Log(slog.New(slog.NewTextHandler(&log, nil)))
	token := long(t, key)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, damage := range []func() error{
		func() error { return os.Remove(path) },
		func() error { return os.WriteFile(path, content[:31], 0o600) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if !holds(t, key, long(t, key)) || !holds(t, key, token) {
				t.Fatal("tokens have ended")
			}
		}
	}
	if got := strings.Count(log.String(), "access key not read again"); got != 2 {
		t.Errorf("said %d times, want once for each fault: %s", got, &log)
	}
	// As a key of somebody else's, put in its place. It is another file: one that is
	// written anew may have the number of the one that was removed, and within a tick
	// of the system's clock its time, too.
	if err := os.WriteFile(path+".new", bytes.Repeat([]byte{9}, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if fresh := long(t, key); !holds(t, key, fresh) || holds(t, key, token) || !strings.Contains(log.String(), "access key read again") {
		t.Errorf("a key that was replaced is not in use: %s", &log)
	}
	if bytes.Contains(log.Bytes(), content) {
		t.Error("the key is in the log")
	}
}

func TestARotatedKeyIsReadByWhoCouldReadTheOld(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), auth.KeyFile)
	machine(t, path)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	for range 5 { // at once, and none undoes another
		running.Go(func() {
			if _, err := auth.RotateKey(path, time.Hour, false); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 || info.Size() != 32+5*40 {
		t.Errorf("%v %v", info, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left beside the key: %v %v", left, err)
	}
	if _, err := auth.RotateKey(path, -time.Second, false); err == nil {
		t.Error("a grace time before now")
	}
	if _, err := auth.RotateKey(path+"none", time.Hour, false); err == nil {
		t.Error("a key that is not there was rotated")
	}
}

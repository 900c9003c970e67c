package auth_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"agentmeter/internal/auth"
	"agentmeter/internal/auth/authtest"
	"agentmeter/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newKey makes a key and tells its bytes, to forge with.
func newKey(t testing.TB) (auth.Key, []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), auth.KeyFile)
	key, err := auth.LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return key, secret
}

func mint(t testing.TB, key auth.Key, workspace schemas.WorkspaceID, scopes ...auth.Scope) string {
	t.Helper()
	token, err := key.Mint(auth.Grant{Workspace: workspace, Scopes: scopes, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTwoProcessesThatCreateTheKeyAtOnceShareIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), auth.KeyFile)
	const processes = 16
	keys := make([]auth.Key, processes)
	var running sync.WaitGroup
	for i := range processes {
		running.Go(func() {
			var err error
			if keys[i], err = auth.LoadOrCreateKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	for _, key := range keys[1:] {
		if _, err := keys[0].Verifier().Verify(t.Context(), mint(t, key, "ws_a", auth.UsageRead)); err != nil {
			t.Fatal("two keys came of one file")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 32 {
		t.Errorf("%v %v", info, err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left beside the key: %v %v", left, err)
	}
}

func TestTheKeySurvives(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), auth.KeyFile)
	first, err := auth.LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := auth.LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Verifier().Verify(t.Context(), mint(t, first, "ws_a", auth.UsageRead)); err != nil {
		t.Errorf("another key the second time: %v", err)
	}
}

func TestADamagedOrOpenKeyIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		content []byte
		mode    os.FileMode
		want    string
	}{
		"short":    {make([]byte, 31), 0o600, "31 bytes"},
		"long":     {make([]byte, 33), 0o600, "33 bytes"},
		"empty":    {nil, 0o600, "0 bytes"},
		"half":     {make([]byte, 32+39), 0o600, "71 bytes"},
		"crowded":  {make([]byte, 32+9*40), 0o600, "392 bytes"},
		"readable": {make([]byte, 32), 0o604, "chmod 600"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, tt.content, tt.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := auth.LoadOrCreateKey(path); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, tt.content) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if _, err := auth.LoadKey(filepath.Join(dir, "none")); err == nil {
		t.Error("a key came of nothing")
	}
	if _, err := auth.LoadKey(dir); err == nil {
		t.Error("a key came of a directory")
	}
}

func TestTheKeyNeverPrints(t *testing.T) {
	t.Parallel()
	key, secret := newKey(t)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", key)
	for _, text := range []string{fmt.Sprint(key), fmt.Sprintf("%v %+v %#v %x %s", key, key, key, key, key), log.String()} {
		if strings.Contains(text, string(secret)) || strings.Contains(text, fmt.Sprintf("%x", secret)) || !strings.Contains(text, "[secret key]") {
			t.Errorf("printed: %s", text)
		}
	}
}

func TestATokenAllowsWhatWasGranted(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t)
	token, err := key.Mint(auth.Grant{Subject: "back office", Workspace: "ws_a", Scopes: []auth.Scope{auth.EventsWrite, auth.UsageRead}, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	access, err := key.Verifier().Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if access.Subject != "back office" || access.Workspace != "ws_a" || !access.Has(auth.EventsWrite) || !access.Has(auth.UsageRead) ||
		access.Has(auth.EventsImport) || access.Has(auth.DirectoryWrite) {
		t.Errorf("%+v", access)
	}
	if !access.Covers("ws_a") || access.Covers("ws_b") || access.Covers("*") || access.Covers("") {
		t.Error("it covers something else than ws_a")
	}
	if left := time.Until(access.Expires); left < 50*time.Second || left > 62*time.Second {
		t.Errorf("it lives for %v", left)
	}
	all, err := key.Verifier().Verify(t.Context(), mint(t, key, schemas.AllWorkspaces, auth.UsageRead))
	if err != nil || !all.Covers("ws_a") || !all.Covers("ws_b") {
		t.Errorf("%+v %v", all, err)
	}
}

func TestGrantsReportEveryFault(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t)
	_, err := key.Mint(auth.Grant{Workspace: " "})
	for _, want := range []string{"workspace", "scope", "ttl"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	for _, text := range []string{"", " , ", "events:write,nonsense"} {
		if _, err := auth.ParseScopes(text); err == nil {
			t.Errorf("scopes %q were taken", text)
		}
	}
	scopes, err := auth.ParseScopes("events:write, usage:read events:write")
	if err != nil || len(scopes) != 2 {
		t.Errorf("%v %v", scopes, err)
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	key, secret := newKey(t)
	for name, token := range authtest.Forgeries(t, secret) {
		if access, err := key.Verifier().Verify(t.Context(), token); err == nil {
			t.Errorf("%s: it allows %+v", name, access)
		}
	}
}

func FuzzVerify(f *testing.F) {
	key, secret := newKey(f)
	for _, token := range authtest.Forgeries(f, secret) {
		if len(token) < 2048 {
			f.Add(token)
		}
	}
	verifier := key.Verifier()
	f.Fuzz(func(t *testing.T, token string) {
		// The key is random: nothing that a fuzzer makes may pass.
		if access, err := verifier.Verify(t.Context(), token); err == nil {
			t.Fatalf("%q allows %+v", token, access)
		}
	})
}

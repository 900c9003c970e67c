package e2e

import (
	"net/http"
	"strings"
	"testing"

	"agentmeter/internal/slowtest"
)

// Prometheus and probes reach a listener of their own, which asks for no token;
// the other one goes on asking everybody who comes from elsewhere.
func TestMetricsHaveAListenerOfTheirOwn(t *testing.T) {
	slowtest.Begin(t)
	_, kafka := startPrinted(t, "broker", "--data-dir", t.TempDir(), "--kafka-listen", "127.0.0.1:0")
	metrics := "http://" + freeAddress()
	ingest, base := startStage(t, "ingest", "--data-dir", t.TempDir(), "--kafka", kafka, "--metrics-listen", strings.TrimPrefix(metrics, "http://"))
	for address, want := range map[string]int{
		metrics + "/metrics": 200, metrics + "/readyz": 200, metrics + "/healthz": 200, metrics + "/v1/events": 404,
		base + "/metrics": 401, base + "/readyz": 200,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Forwarded-For", "192.0.2.7")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("GET %s from elsewhere: status %d, want %d", address, response.StatusCode, want)
		}
	}
	if out := mustAgentmeter(t, "health", "--url", metrics+"/readyz"); !strings.Contains(out, `"status":"ready"`) {
		t.Errorf("health: %s", out)
	}
	ingest.stop()
	for address, want := range map[string]int{metrics + "/readyz": 1, "metrics": 2} {
		if code, _, stderr := agentmeter(t, "health", "--url", address); code != want || stderr == "" {
			t.Errorf("health of %s: exit status %d, want %d: %s", address, code, want, stderr)
		}
	}
}

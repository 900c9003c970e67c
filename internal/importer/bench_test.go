package importer_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"agentmeter/internal/eventclient"
	"agentmeter/internal/importer"
)

// BenchmarkImport is the importer's own speed: the server only counts lines.
func BenchmarkImport(b *testing.B) {
	const events = 200_000
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unpacked, err := gzip.NewReader(body)
			if err != nil {
				b.Error(err)
				return
			}
			body = unpacked
		}
		content, err := io.ReadAll(body)
		if err != nil {
			b.Error(err)
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = fmt.Fprintf(w, `{"accepted":%d,"rejected":[]}`, bytes.Count(content, []byte{'\n'}))
	}))
	defer server.Close()

	var ndjson, csv strings.Builder
	csv.WriteString("id,workspace_id,agent_id,conversation_id,occurred_at,channel,model,credits,messages\n")
	for i := range events {
		id := fmt.Sprintf("%08x-8f0c-4a55-9b0e-%012x", uint32(i)*2654435761, uint64(i)*0x9e3779b97f4a7c15>>16)
		at := fmt.Sprintf("2026-11-24T%02d:%02d:%02d.%06dZ", i/3600%24, i/60%60, i%60, i)
		fmt.Fprintf(&ndjson, `{"id":"%s","workspace_id":"ws_trace","agent_id":"agt_support","conversation_id":"conv_%d","occurred_at":"%s","channel":"embed","model":"small","credits":"1.5","messages":1}`+"\n", id, i/5, at)
		fmt.Fprintf(&csv, "%s,ws_trace,agt_support,conv_%d,%s,embed,small,1.5,1\n", id, i/5, at)
	}
	for _, file := range []struct {
		name     string
		content  string
		compress eventclient.Compress
	}{
		{"x.ndjson", ndjson.String(), eventclient.CompressNever},
		{"x.ndjson", ndjson.String(), eventclient.CompressAlways},
		{"x.ndjson.gz", ndjson.String(), eventclient.CompressNever},
		{"x.csv", csv.String(), eventclient.CompressNever},
	} {
		name := file.name
		if file.compress == eventclient.CompressAlways {
			name += "/compressed on the way"
		}
		b.Run(name, func(b *testing.B) {
			data := []byte(file.content)
			if strings.HasSuffix(file.name, ".gz") {
				data = zipped(b, file.content)
			}
			path := filepath.Join(b.TempDir(), file.name)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(file.content)))
			b.ReportAllocs()
			for b.Loop() {
				result, err := importer.Run(b.Context(), importer.Options{
					Endpoint: eventclient.Static(server.URL, ""), StateDir: b.TempDir(), Compress: file.compress,
				}, path)
				if err != nil || result.Files[0].Accepted != events {
					b.Fatal(result, err)
				}
			}
			b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

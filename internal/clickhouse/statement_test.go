package clickhouse

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestASummaryIsWhatClickHouseSaysOrIsUnknown(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]Summary{
		`{"read_rows":"12","read_bytes":"345","written_rows":"0","elapsed_ns":"67"}`: {Known: true, ReadRows: 12, ReadBytes: 345},
		`{"read_rows":"18446744073709551615","read_bytes":"1"}`:                      {Known: true, ReadRows: 18446744073709551615, ReadBytes: 1},
		``: {}, `{}x`: {}, `{"read_rows":"12","read_bytes":"many"}`: {}, `{"read_rows":"-1"}`: {}, `null`: {}, `{}`: {},
		`{"read_rows":"12"}`: {},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if header != "" {
				w.Header().Set("X-ClickHouse-Summary", header)
			}
			w.Header().Set("X-ClickHouse-Query-Id", "one")
		}))
		client, err := Open(Config{URL: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		got := Summary{Known: true, ReadRows: 1} // of a statement before
		if err := client.Exec(t.Context(), Statement{SQL: "SELECT 1", Summary: &got}); err != nil {
			t.Error(err)
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", header, got, want)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	}
}

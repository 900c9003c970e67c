package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/fair"
	"agentmeter/internal/httpapi"
	"agentmeter/query/page"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
	"agentmeter/schemas/api/queryapi"
)

// Service answers the read side of the contract. It is safe for concurrent use
// and has no goroutines of its own: each ends with the requests that wait for it.
type Service struct {
	config     Config
	clickhouse *clickhouse.Client
	log        *slog.Logger
	metrics    *metrics
	clock      func() time.Time
	limiter    *limiter
	mutex      func(stream uuid.UUID, partition int32) string
	live       *fair.Gate // a slot for each live stream
	page       *page.Page
	recent     recently
	held       *heldFigures // nil only in a test of what is held, which no live stream is open in
	flights    flights
	rates      *httpapi.Limits // nil: there is no limit
}

var _ queryapi.ServerInterface = (*Service)(nil)

// Deps are what the service works with.
type Deps struct {
	ClickHouse *clickhouse.Client
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Clock      func() time.Time // nil: the machine's
	// Mutex names the query id under which nothing is written in a partition of
	// a stream. Nil: there is none.
	Mutex func(stream uuid.UUID, partition int32) string
}

// New makes a service. It asks nothing of ClickHouse yet.
func New(config Config, deps Deps) (*Service, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	dashboard, err := page.New(config.Page)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	m := newMetrics(deps.Registerer)
	clock := deps.Clock
	if clock == nil {
		clock = time.Now
	}
	mutex := deps.Mutex
	if mutex == nil {
		mutex = func(uuid.UUID, int32) string { return "" }
	}
	return &Service{
		mutex:  mutex,
		config: config, clickhouse: deps.ClickHouse, log: deps.Log, metrics: m, clock: clock,
		limiter: newLimiter(config, m), live: fair.New(fair.Config{Capacity: int64(config.MaxLive)}), page: dashboard,
		recent: recently{workspaces: map[schemas.WorkspaceID]*workspaceBook{}},
		held:   newHeldFigures(config.MaxHeld, config.HeldMaxAge),
		rates:  newRateLimits(config.RateLimit),
	}, nil
}

// Mount adds the service's routes. Those that need access go to guarded, a guard
// around open; open takes the page's assets, which are the same for everyone.
func (s *Service) Mount(guarded, open httpapi.Mux) {
	guarded = limitedMux{guarded, s.rates, s.metrics}
	queryapi.HandlerWithOptions(s, queryapi.StdHTTPServerOptions{
		BaseRouter:       guarded,
		ErrorHandlerFunc: s.parameterError,
	})
	guarded.HandleFunc("GET "+page.Route, s.getPage)
	guarded.Signpost("A workspace's Usage page is at " + strings.Replace(page.Route, "{ws}", "WORKSPACE", 1) +
		", for whoever has a link that opens it: agentmeter link prints one, and POST /v1/sessions makes one.")
	guarded.HandleFunc("GET "+page.FiguresRoute, s.getFigures)
	guarded.HandleFunc("GET "+page.ProofRoute, s.getProof)
	open.HandleFunc("GET "+page.AssetsPrefix, s.page.Assets().ServeHTTP)
}

// parameterError answers for a parameter that the generated code could not
// read. The handlers read the query themselves, and say more precisely what is
// wrong, all at once; so does this.
func (s *Service) parameterError(w http.ResponseWriter, r *http.Request, err error) {
	if ignorable(err) {
		switch r.Pattern { // these take whatever is in it, and know what to make of it
		case "GET /v1/usage/live":
			s.GetLive(w, r, api.GetLiveParams{})
			return
		case "GET /v1/usage/dashboard":
			s.GetDashboard(w, r, api.GetDashboardParams{})
			return
		}
	}
	p := readParameters(r)
	p.workspace()
	p.agent()
	p.asked()
	p.grain()
	p.comparison()
	p.explain()
	p.limit()
	var missing *queryapi.RequiredParamError
	if errors.As(err, &missing) && missing.ParamName == "by" {
		p.by()
	}
	problem := p.err()
	if problem == nil {
		problem = &httpapi.Problem{
			Status: http.StatusBadRequest, Code: "parameter_invalid",
			Detail: "A parameter cannot be read.", Cause: err,
		}
	}
	httpapi.WriteError(w, r, problem)
}

// ignorable reports whether all that is wrong is the Last-Event-ID, which is
// none that the service knows then.
func ignorable(err error) bool {
	var repeated *queryapi.TooManyValuesForParamError
	var malformed *queryapi.InvalidParamFormatError
	return errors.As(err, &repeated) && repeated.ParamName == lastEventID ||
		errors.As(err, &malformed) && malformed.ParamName == lastEventID
}

// requiredTables is how many tables ready.sql asks for.
const requiredTables = 12

// Ready reports whether questions can be answered: ClickHouse is there and has
// the tables. It is a readiness check.
func (s *Service) Ready(ctx context.Context) error {
	var tables proto.ColUInt64
	found := uint64(0)
	columns := proto.Results{{Name: "tables", Data: &tables}}
	err := s.read(ctx, "readiness", "ready", render("ready", nil), nil, columns, func(int) { found = tables[0] })
	if err == nil && found != requiredTables {
		err = fmt.Errorf("%d of %d tables are there; run agentmeter migrate", found, requiredTables)
	}
	return err
}

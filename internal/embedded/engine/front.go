package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"agentmeter/internal/fault"
)

const (
	// maxConnections bounds the open connections; more wait in the kernel's queue.
	maxConnections = 512
	// shutdownGrace is how long Serve waits for statements under way.
	shutdownGrace = 30 * time.Second
)

// Handler is ClickHouse's HTTP protocol. It does not ask who is calling: serve
// it on loopback only.
func (e *Engine) Handler() http.Handler {
	metrics := promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if reason := foreign(r); reason != "" {
			e.metrics.refused.WithLabelValues(refusedForeign).Inc()
			http.Error(w, reason, http.StatusForbidden)
			return
		}
		switch r.URL.Path {
		case "/":
			e.serveQuery(w, r)
		case "/ping":
			w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
			_, _ = io.WriteString(w, "Ok.\n")
		case "/metrics":
			metrics.ServeHTTP(w, r)
		default:
			http.Error(w, "There is no handle "+strconv.Quote(r.URL.Path)+". Use / or /ping for health checks.", http.StatusNotFound)
		}
	})
}

// foreign says why a request is not taken: a browser must not carry some page's
// requests here, neither across origins nor under a name that was pointed at
// the loopback address.
func foreign(r *http.Request) string {
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return "The embedded engine takes no requests from web pages."
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return ""
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Unmap().IsLoopback() {
		return ""
	}
	return "The embedded engine answers to loopback addresses only."
}

// Serve answers requests on l, a loopback listener, until ctx ends; then it
// waits for the statements under way, up to half a minute.
func (e *Engine) Serve(ctx context.Context, l net.Listener) error {
	if err := requireLoopback(l.Addr()); err != nil {
		return err
	}
	server := &http.Server{
		Handler:           e.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    2 << 20, // the URL may carry a statement and its parameters
		// A statement outlives its client, so the base context is not ctx.
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(limitListener(l, maxConnections)) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	err := server.Shutdown(grace)
	if err != nil {
		err = errors.Join(err, server.Close())
	}
	if serveErr := <-done; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

func requireLoopback(addr net.Addr) error {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() {
		return errors.New("the embedded ClickHouse engine has no authentication and listens on loopback addresses only, not on " + addr.String())
	}
	return nil
}

func (e *Engine) serveQuery(w http.ResponseWriter, r *http.Request) {
	a := newAnswer(w)
	switch r.Method {
	case http.MethodGet, http.MethodPost, http.MethodHead:
	default:
		w.Header().Set("Allow", "GET, POST, HEAD")
		http.Error(w, "Method not allowed.", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.RawQuery == "" && r.Method != http.MethodPost {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		_, _ = io.WriteString(w, "Ok.\n")
		return
	}
	req, err := parseRequest(r, e.cfg.MaxBodyBytes)
	if err != nil {
		e.refuse(a, r, refusedParse, err)
		return
	}
	defer req.done()
	if req.compress != compress.None {
		a.compressor = compress.NewWriter(compress.LevelZero, req.compress)
	}

	var data *body
	if req.data != nil {
		if data, err = spool(req.data, e.cfg.Dir); err != nil {
			e.refuse(a, r, refusedBody, bodyError(err))
			return
		}
		defer data.close()
		e.metrics.bodyBytes.Add(float64(data.size))
	}

	// The id is claimed before the wait for a turn: whoever waits with an id
	// holds it. Nothing below returns before the engine is done with the
	// statement, whatever the client does meanwhile.
	id := req.queryID
	if id == "" {
		id = uuid.NewString()
	}
	req.point(fault.EngineReceived)
	if !e.ids.take(id) {
		e.fail(a, refusedQueryID, exceptionf(codeAlreadyRunning, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
			"Query with id = %s is already running", id))
		return
	}
	if err := e.pool.admit(r.Context()); err != nil {
		e.ids.release(id)
		if isCancelled(err) {
			return // nobody is waiting for an answer
		}
		e.fail(a, refusedAdmission, err)
		return
	}
	req.point(fault.EngineLocked)
	a.begin(id, req.outputFormat(), e.zone, "agentmeter")
	f, err := func() (facts, error) {
		// Before the answer goes out, so that a client that has it can use the
		// id at once.
		defer e.ids.release(id)
		defer e.pool.leave()
		return e.run(r.Context(), a, req, data)
	}()
	if err != nil {
		a.fail(asException(err))
		return
	}
	a.finish(f)
}

// refusedRest is how much of a refused request is read before it is answered: whoever is
// still sending would have the connection reset, and not hear why.
const refusedRest = 16 << 20

// refuse answers with an error that came before the request was read.
func (e *Engine) refuse(a *answer, r *http.Request, reason string, err error) {
	_, _ = io.CopyN(io.Discard, r.Body, refusedRest)
	e.fail(a, reason, err)
}

// fail answers with an error that did not come from a statement.
func (e *Engine) fail(a *answer, reason string, err error) {
	e.metrics.refused.WithLabelValues(reason).Inc()
	a.fail(asException(err))
}

func asException(err error) *Exception {
	var exception *Exception
	if errors.As(err, &exception) {
		return exception
	}
	return exceptionf(codeLogicalError, "LOGICAL_ERROR", "%v", err)
}

// run executes the statement and writes its result. When it returns, the engine
// is done with the statement. The client's end stops what it may stop; see
// sessionSpec.endsWithClient.
func (e *Engine) run(client context.Context, a *answer, req *request, data *body) (f facts, err error) {
	spec := req.spec
	streaming := req.kind == kindSelect && streams(req.outputFormat()) && !req.whole
	if req.kind == kindSelect && !streaming && settingValue(spec.settings, "max_result_bytes") == "" {
		spec.settings = append(spec.settings, setting{"max_result_bytes", strconv.FormatInt(e.cfg.MaxResultBytes, 10)})
	}
	s, err := e.pool.get(spec)
	if err != nil {
		return f, err
	}
	sql := req.text
	if data != nil {
		sql = req.withData(data.path)
	}

	e.metrics.running.Inc()
	began := time.Now()
	clean := false
	held := e.leash(client, req, s)
	defer func() {
		// Also when the code in between panics.
		left := held.release()
		if clean && req.kind != kindSession {
			e.pool.put(s)
		} else {
			e.retire(s)
		}
		e.metrics.running.Dec()
		e.metrics.seconds.WithLabelValues(req.kind.String()).Observe(time.Since(began).Seconds())
		outcome := outcomeOK
		switch {
		case a.failed, left && err != nil:
			outcome = outcomeClientGone
		case err != nil:
			outcome = outcomeError
		}
		e.metrics.statements.WithLabelValues(req.kind.String(), outcome).Inc()
	}()
	if streaming {
		f, err = e.stream(a, s, sql, req)
	} else {
		f, err = e.query(a, s, sql, req)
	}
	clean = err == nil
	return f, err
}

// retire gets rid of a session. A failed INSERT stays in the engine's list of
// processes until its connection is used once more, hence the SELECT.
func (e *Engine) retire(s *pooled) {
	s.query([]byte("SELECT 1"), "Null", nil).release()
	s.close()
}

// query runs a statement whose result is taken as a whole.
func (e *Engine) query(a *answer, s *pooled, sql []byte, req *request) (facts, error) {
	req.point(fault.EngineRunning)
	r := s.query(sql, req.format, req.params)
	req.point(fault.EngineEnded)
	defer r.release()
	if r.err != nil {
		return facts{}, r.err
	}
	return r.facts, e.writeChunk(a, r.data, req)
}

// point marks a step of a writing statement.
func (req *request) point(name string) {
	if req.kind == kindInsert {
		fault.Point(name)
	}
}

// stream runs a SELECT and passes its result on block by block.
func (e *Engine) stream(a *answer, s *pooled, sql []byte, req *request) (f facts, err error) {
	st := s.stream(sql, req.format, req.params)
	defer st.release()
	if err := st.err(); err != nil {
		return f, err
	}
	for {
		r := st.next()
		if r.err != nil {
			err := r.err
			r.release()
			return f, err
		}
		if len(r.data) == 0 {
			r.release()
			return f, nil
		}
		f.rows += r.facts.rows
		f.readRows += r.facts.readRows
		f.readBytes += r.facts.readBytes
		err := e.writeChunk(a, r.data, req)
		r.release()
		if err != nil {
			st.cancel()
			return f, err
		}
	}
}

// writeChunk sends a piece of the result, as the client wants it.
func (e *Engine) writeChunk(a *answer, data []byte, req *request) (err error) {
	if req.revision > 0 && req.outputFormat() == "Native" {
		if a.native, err = appendNative(a.native[:0], data, req.revision); err != nil {
			return err
		}
		data = a.native
	}
	return a.write(data)
}

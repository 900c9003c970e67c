package crash

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// proxyFault is what the proxy between a rollup and the engine does to one
// request.
type proxyFault string

const (
	faultDropAnswer  proxyFault = "answer dropped"                // the statement ends, nobody is told
	faultHangUp      proxyFault = "hung up while it ran"          // the client is cut off while the statement runs
	faultDelayAnswer proxyFault = "answer delayed past the limit" // the client has given up when it comes
	faultCutRequest  proxyFault = "request cut in the middle"     // the engine gets half a request
	faultHold        proxyFault = "request held back"             // it reaches the engine later, perhaps the next one
	faultRefuse      proxyFault = "connection refused"            // nothing reaches the engine

	// onlyWatch does nothing but say that the request has come.
	onlyWatch proxyFault = "watched"
)

var proxyFaults = []proxyFault{faultDropAnswer, faultHangUp, faultDelayAnswer, faultCutRequest, faultHold, faultRefuse}

// proxy stands between the rollups and the engine. It passes requests on, and
// does to some of them what networks do.
type proxy struct {
	target   string // host:port of the engine
	listener net.Listener
	server   *http.Server
	client   *http.Client
	delay    time.Duration // beyond the clients' limit

	mu      sync.Mutex // guards what follows
	random  *rand.Rand
	chance  int          // of a fault, for a writing request, in a thousand
	orders  []proxyOrder // what to do to the next matching requests
	counts  map[proxyFault]int
	release chan struct{} // closed to let held requests go
	held    sync.WaitGroup
	gone    atomic.Bool
	took    atomic.Int64
}

// appends is what the text of a block's statement contains.
const appends = "INSERT INTO usage_ledger"

// proxyOrder is a fault for the next block.
type proxyOrder struct {
	fault proxyFault
	after time.Duration // how long to wait before hanging up or letting go
	done  chan struct{} // closed when it was carried out
}

func newProxy(target string, random *rand.Rand, limit time.Duration) (*proxy, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("crash: proxy: %w", err)
	}
	p := &proxy{
		target: target, listener: listener, random: random, delay: limit + 500*time.Millisecond,
		counts: make(map[proxyFault]int), release: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}},
	}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = p.server.Serve(listener) }() // until close
	return p, nil
}

func (p *proxy) url() string { return "http://" + p.listener.Addr().String() }

// setChance makes writing requests fail by chance, in a thousand.
func (p *proxy) setChance(perMille int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.chance = perMille
}

// order has the next block suffer the fault. The channel is closed when it has.
func (p *proxy) order(fault proxyFault, after time.Duration) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := proxyOrder{fault: fault, after: after, done: make(chan struct{})}
	p.orders = append(p.orders, o)
	return o.done
}

// letGo sends on every request that is held back, and waits until each has
// ended.
func (p *proxy) letGo() {
	p.mu.Lock()
	close(p.release)
	p.release = make(chan struct{})
	p.mu.Unlock()
	p.held.Wait()
}

// lastTook is how long the last watched request took.
func (p *proxy) lastTook() time.Duration { return time.Duration(p.took.Load()) }

func (p *proxy) tally() map[proxyFault]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	tally := make(map[proxyFault]int, len(p.counts))
	for fault, n := range p.counts {
		tally[fault] = n
	}
	return tally
}

func (p *proxy) close() {
	p.gone.Store(true)
	_ = p.server.Close() // cuts everybody off, which is all right now
	p.letGo()
	p.client.CloseIdleConnections()
}

// draw decides what becomes of a request.
func (p *proxy) draw(text string) (proxyOrder, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.orders) > 0 && strings.Contains(text, appends) {
		o := p.orders[0]
		p.orders = p.orders[1:]
		p.counts[o.fault]++
		return o, true
	}
	chance := p.chance
	if !strings.Contains(text, "INSERT") {
		chance /= 4
	}
	if p.random.IntN(1000) >= chance {
		return proxyOrder{}, false
	}
	o := proxyOrder{
		fault: proxyFaults[p.random.IntN(len(proxyFaults))],
		after: time.Duration(p.random.IntN(40)) * time.Millisecond,
		done:  make(chan struct{}),
	}
	if o.fault == faultHold {
		o.after = time.Duration(200+p.random.IntN(4000)) * time.Millisecond
	}
	p.counts[o.fault]++
	return o, true
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	text := r.URL.Query().Get("query")
	if text == "" {
		text = string(body)
	}
	o, faulty := p.draw(text)
	if !faulty {
		p.pass(w, r, body)
		return
	}
	if o.fault == onlyWatch {
		close(o.done)
		began := time.Now()
		p.pass(w, r, body)
		p.took.Store(int64(time.Since(began)))
		return
	}
	defer func() { close(o.done) }()
	switch o.fault {
	case faultDropAnswer:
		p.send(r, body)
		hangUp(w)
	case faultHangUp:
		ended := make(chan struct{})
		p.held.Go(func() {
			defer close(ended)
			p.send(r, body)
		})
		select {
		case <-ended:
		case <-time.After(o.after):
		}
		hangUp(w)
	case faultDelayAnswer:
		status, header, answer := p.send(r, body)
		select {
		case <-r.Context().Done():
		case <-time.After(p.delay):
		}
		if status == 0 {
			hangUp(w)
			return
		}
		writeAnswer(w, status, header, answer)
	case faultCutRequest:
		p.sendHalf(r, body)
		hangUp(w)
	case faultHold:
		p.mu.Lock()
		release := p.release
		p.mu.Unlock()
		p.held.Go(func() {
			select {
			case <-release:
			case <-time.After(o.after):
			}
			p.send(r, body)
		})
		hangUp(w)
	default: // refused
		hangUp(w)
	}
}

// pass hands the request on and the answer back.
func (p *proxy) pass(w http.ResponseWriter, r *http.Request, body []byte) {
	status, header, answer := p.send(r, body)
	if status == 0 {
		hangUp(w) // as if the engine's own connection had broken
		return
	}
	writeAnswer(w, status, header, answer)
}

func writeAnswer(w http.ResponseWriter, status int, header http.Header, answer []byte) {
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer) //nolint:gosec // no browser reads it; a client that is gone is none of our business
}

// send passes the request on, whatever becomes of the client, and returns the
// answer; status 0 means that there was none.
func (p *proxy) send(r *http.Request, body []byte) (status int, header http.Header, answer []byte) {
	if p.gone.Load() {
		return 0, nil, nil
	}
	request, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, "http://"+p.target+r.URL.RequestURI(), bytes.NewReader(body)) //nolint:gosec // to the engine on loopback
	if err != nil {
		return 0, nil, nil
	}
	request.Header = r.Header.Clone()
	response, err := p.client.Do(request) //nolint:gosec // to the engine on loopback
	if err != nil {
		return 0, nil, nil
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, nil
	}
	response.Header.Del("Content-Length")
	return response.StatusCode, response.Header, answer
}

// sendHalf announces the whole body and breaks off in the middle of it.
func (p *proxy) sendHalf(r *http.Request, body []byte) {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(r.Context(), "tcp", p.target)
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", r.Method, r.URL.RequestURI(), p.target, len(body))
	_, _ = conn.Write(body[:len(body)/2]) // it is about to break anyway
}

// hangUp ends the client's connection without an answer.
func hangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_ = conn.Close() // on purpose
}

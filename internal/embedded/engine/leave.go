package engine

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
)

// How long the engine is given before it is told again to stop a statement: one
// whose client left early may not have begun when it is told first.
const (
	killFirstWait = 10 * time.Millisecond
	killMaxWait   = 500 * time.Millisecond
)

// endsWithClient tells whether the statements of sessions like spec are stopped
// when their client closes the connection. As on a server that is so for those
// that can change nothing, and if it is asked for.
func (s sessionSpec) endsWithClient() bool {
	return isOn(s.readonly) && isOn(settingValue(s.settings, "cancel_http_readonly_queries_on_client_close"))
}

// markSetting is where a session's mark stands. A client that sets it for
// purposes of its own has it as it likes; its statements are not stopped.
const markSetting = "log_comment"

// marked gives s a mark, if its statements may have to be stopped, and returns
// the spec with it. The mark tells the statements of s from all others in the
// engine's list of processes: the engine gives statements ids of its own, which
// nobody learns in time, and shows their text without remarks.
func (s sessionSpec) marked(on *session) sessionSpec {
	if !s.endsWithClient() || settingValue(s.settings, markSetting) != "" {
		return s
	}
	on.mark = uuid.NewString()
	s.settings = append(slices.Clone(s.settings), setting{markSetting, on.mark})
	return s
}

// leash holds a statement to its client.
type leash struct {
	engine  *Engine
	session *pooled
	ended   chan struct{}      // closed when the statement has ended
	stop    func() (idle bool) // calls off what is done when the client leaves
	stopped chan struct{}      // closed when that is over
}

// leash returns what stops the statement of req on s once client has ended; nil
// for a statement that is not stopped. What is returned must be released when
// the statement has ended, before anything else happens on s.
func (e *Engine) leash(client context.Context, req *request, s *pooled) *leash {
	if req.kind == kindInsert || s.mark == "" {
		return nil
	}
	l := &leash{engine: e, session: s, ended: make(chan struct{}), stopped: make(chan struct{})}
	l.stop = context.AfterFunc(client, l.kill)
	return l
}

// kill tells the engine to stop the statement until it has ended.
func (l *leash) kill() {
	defer close(l.stopped)
	sql := []byte("KILL QUERY WHERE Settings[" + quoteString(markSetting) + "] = " + quoteString(l.session.mark) + " ASYNC")
	for wait := killFirstWait; ; wait = min(2*wait, killMaxWait) {
		l.engine.rootMu.Lock()
		r := l.engine.root.query(sql, "Null", nil)
		r.release()
		l.engine.rootMu.Unlock()
		if r.err != nil {
			l.engine.log.Warn("engine could not be told to stop a statement", "error", r.err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-l.ended:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// release says that the statement has ended, and reports whether its client had
// left by then.
func (l *leash) release() (left bool) {
	if l == nil {
		return false
	}
	close(l.ended)
	if l.stop() {
		return false
	}
	<-l.stopped
	return true
}

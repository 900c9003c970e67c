package broker

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"agentmeter/internal/fault"
)

const (
	// maxFrameBytes bounds a request, like Kafka's socket.request.max.bytes.
	maxFrameBytes = 100 << 20
	// maxConnections bounds the open connections; more wait in the kernel's queue.
	maxConnections = 512
)

var errNotKafka = errors.New("not a Kafka request")

// guardListener hands out connections that carry nothing but sound frames, and
// no more than maxConnections at a time.
type guardListener struct {
	net.Listener
	places  chan struct{}
	once    sync.Once
	done    chan struct{}
	refused func(net.Addr)
}

func newGuardListener(l net.Listener, refused func(net.Addr)) *guardListener {
	return &guardListener{
		Listener: l, places: make(chan struct{}, maxConnections), done: make(chan struct{}), refused: refused,
	}
}

func (l *guardListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &guardConn{Conn: c, release: func() { <-l.places }, refused: l.refused}, nil
}

// acceptAgain is after how long a listener that could not accept tries again.
const acceptAgain = 50 * time.Millisecond

// accept waits until what the system lacks is there again: the broker behind takes
// any error for the listener's end, and would never be reached again.
func (l *guardListener) accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err == nil || !passing(err) {
			return c, err
		}
		select {
		case <-l.done:
			return nil, net.ErrClosed
		case <-time.After(acceptAgain):
		}
	}
}

// passing reports whether an error of Accept says nothing of the listener: the
// peer has gone already, or there are no more descriptors or memory just now.
func passing(err error) bool {
	for _, passing := range [...]error{syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

func (l *guardListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// guardConn looks at each frame's size and key as they pass.
type guardConn struct {
	net.Conn
	once    sync.Once
	release func()
	refused func(net.Addr)

	head [6]byte // size and key of the current frame
	have int     // how much of head has passed
	left int64   // of the frame, behind the key

	produces answers // where faults can strike
}

func (c *guardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.pass(p[:n]) {
		c.refused(c.RemoteAddr())
		return 0, errNotKafka
	}
	return n, err
}

// pass follows the frames and tells whether they are sound so far.
func (c *guardConn) pass(p []byte) bool {
	for len(p) > 0 {
		if c.have < len(c.head) {
			n := copy(c.head[c.have:], p)
			before := c.have
			c.have += n
			p = p[n:]
			if before < 4 && c.have >= 4 {
				// The size alone must be sound before the broker sees it: it
				// allocates as much.
				size := int64(int32(binary.BigEndian.Uint32(c.head[:4])))
				if size < 8 || size > maxFrameBytes { // key, version, correlation id
					return false
				}
				c.left = size - 2
			}
			if c.have < len(c.head) {
				return true
			}
			key := int16(binary.BigEndian.Uint16(c.head[4:]))
			if kmsg.RequestForKey(key) == nil {
				return false
			}
			if fault.Enabled {
				c.produces.asked(key == int16(kmsg.Produce))
			}
			continue
		}
		n := min(int64(len(p)), c.left)
		p = p[n:]
		if c.left -= n; c.left == 0 {
			c.have = 0
		}
	}
	return true
}

// Write sends an answer, one a call.
func (c *guardConn) Write(p []byte) (int, error) {
	if fault.Enabled && c.produces.answered() {
		fault.Point(fault.BrokerAfter)
	}
	return c.Conn.Write(p)
}

// answers tells the answers to produce requests from the others, which come in
// the order of the requests. Producers that want no answer put it out of step,
// and are none of ours.
type answers struct {
	mu   sync.Mutex
	open []bool // of requests that were not answered yet: whether each produces
}

func (a *answers) asked(produces bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = append(a.open, produces)
}

func (a *answers) answered() (produces bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.open) == 0 {
		return false
	}
	produces, a.open = a.open[0], a.open[1:]
	return produces
}

func (c *guardConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}

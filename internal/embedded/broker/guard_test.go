package broker

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

func frame(key int16, body int) []byte {
	f := binary.BigEndian.AppendUint32(nil, uint32(8+body))
	f = binary.BigEndian.AppendUint16(f, uint16(key))
	return append(f, make([]byte, 6+body)...)
}

func TestSoundFramesPassHoweverTheyAreCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		for range rapid.IntRange(1, 5).Draw(t, "frames") {
			stream = append(stream, frame(rapid.SampledFrom([]int16{0, 1, 3, 18}).Draw(t, "key"), rapid.IntRange(0, 40).Draw(t, "body"))...)
		}
		bad := rapid.Bool().Draw(t, "bad")
		if bad {
			stream = append(stream, rapid.SampledFrom([][]byte{
				[]byte("GET / HTTP/1.1\r\n"), frame(9999, 3), frame(-1, 3), {0, 0, 0, 0}, {0, 0, 0, 7, 0, 0}, {0xff, 0xff, 0xff, 0xff},
			}).Draw(t, "what")...)
		}
		var c guardConn
		ok := true
		for len(stream) > 0 && ok {
			n := rapid.IntRange(1, len(stream)).Draw(t, "cut")
			ok = c.pass(stream[:n])
			stream = stream[n:]
		}
		if ok == bad {
			t.Fatalf("passed: %v, bad: %v", ok, bad)
		}
	})
}

func FuzzGuard(f *testing.F) {
	f.Add(frame(3, 10))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		var whole, single guardConn
		want := whole.pass(stream)
		got := true
		for i := range stream {
			if got = single.pass(stream[i : i+1]); !got {
				break
			}
		}
		if got != want {
			t.Fatalf("byte by byte: %v, at once: %v", got, want)
		}
	})
}

// scarce is a listener that cannot accept a few times.
type scarce struct {
	net.Listener
	fails []error
}

func (l *scarce) Accept() (net.Conn, error) {
	if len(l.fails) > 0 {
		err := l.fails[0]
		l.fails = l.fails[1:]
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
	}
	return nil, net.ErrClosed
}

func (*scarce) Close() error { return nil }

func TestTheListenerOutlivesAWantOfDescriptors(t *testing.T) {
	scarcity := &scarce{fails: []error{syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED}}
	l := newGuardListener(scarcity, func(net.Addr) {})
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) || len(scarcity.fails) > 0 {
		t.Errorf("it ended with %v, and %d were to come", err, len(scarcity.fails))
	}
	l = newGuardListener(&scarce{fails: []error{syscall.EMFILE, syscall.EINVAL}}, func(net.Addr) {})
	if _, err := l.Accept(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("an error of the listener's own: %v", err)
	}
	if len(l.places) != 0 {
		t.Errorf("%d places are taken by nobody", len(l.places))
	}
}

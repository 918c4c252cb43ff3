package client

import (
	"errors"
	"net"
	"testing"
	"time"
)

// A frozen hub takes connections and says nothing.
func TestFrozenHubIsTold(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := New("http://"+l.Addr().String(), "token")
	c.timeout = 50 * time.Millisecond
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("err = %v", err)
	}
}

package stream

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestPortInUseIsOneSentence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = StartServer(ServerConfig{Dir: t.TempDir(), Listen: l.Addr().String(), Token: "t"}, quiet())
	if !errors.Is(err, ErrStart) || !strings.Contains(err.Error(), "address already in use") || strings.Contains(err.Error(), "\n") {
		t.Errorf("err = %v", err)
	}
}

func TestFolderThatIsAFileIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := StartServer(ServerConfig{Dir: path, Token: "t"}, quiet())
	if !errors.Is(err, ErrStart) {
		t.Errorf("err = %v", err)
	}
}

func TestClientsNeedTheToken(t *testing.T) {
	srv, err := StartServer(ServerConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: "right"}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown()
	for token, want := range map[string]bool{"right": true, "wrong": false} {
		nc, err := nats.Connect("nats://"+srv.Addr().String(), nats.Token(token))
		if (err == nil) != want {
			t.Errorf("token %s: %v", token, err)
		}
		if err == nil {
			nc.Close()
		}
	}
}

func TestHeadersAreReadToTheEnd(t *testing.T) {
	srv, err := StartServer(ServerConfig{Dir: t.TempDir(), Token: "t"}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown()
	nc, err := Connect("", srv.InProcess()...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := Open(ctx, nc, Config{})
	if err != nil {
		t.Fatal(err)
	}
	read := func(from uint64) (seqs []uint64) {
		t.Helper()
		st, err := s.Headers(ctx, from, func(m *Stored) error {
			seqs = append(seqs, m.Seq)
			return nil
		})
		if err != nil || st.Last < uint64(len(seqs)) {
			t.Fatalf("%+v %v", st, err)
		}
		return seqs
	}
	if got := read(1); len(got) != 0 {
		t.Errorf("an empty stream gave %v", got)
	}
	const n = replayChunk + 500
	for range n {
		msg, err := s.Encode(&message.Message{Device: "d", Body: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.JetStream().PublishMsgAsync(msg); err != nil {
			t.Fatal(err)
		}
	}
	<-s.JetStream().PublishAsyncComplete()
	js, err := s.JetStream().Stream(ctx, DefaultName)
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{1, 7, n} { // also the last: nothing marks the end
		if err := js.DeleteMsg(ctx, seq); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(1); len(got) != n-3 || got[0] != 2 || got[len(got)-1] != n-1 {
		t.Errorf("read %d, from %d to %d", len(got), got[0], got[len(got)-1])
	}
	if got := read(n - 1); len(got) != 1 {
		t.Errorf("the end gave %v", got)
	}
	if got := read(n); len(got) != 0 {
		t.Errorf("behind the end came %v", got)
	}
}

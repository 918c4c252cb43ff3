package stream

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	startTimeout   = 30 * time.Second
	defaultPayload = 4 << 20
)

// ServerConfig describes the embedded server.
type ServerConfig struct {
	Dir        string // JetStream's files
	Listen     string // host:port for other NATS clients; "": in-process only
	Token      string // what every client, also the in-process one, must present
	Relaxed    bool   // sync every two minutes only: acknowledged messages may be lost with the power
	MaxPayload int    // bytes of headers and body of one message; 0: 4 MiB
	MaxStore   int64  // bytes of JetStream's files; 0: three quarters of what the disk has
}

// Server is an embedded nats-server with JetStream whose every write is synced
// before it is acknowledged, unless it is Relaxed.
type Server struct {
	srv   *server.Server
	token string
}

// StartServer starts the server and returns when it accepts connections. Its
// errors wrap ErrStart.
func StartServer(cfg ServerConfig, log *slog.Logger) (*Server, error) {
	opts := &server.Options{
		ServerName: "cloudhub", JetStream: true, StoreDir: cfg.Dir, SyncAlways: !cfg.Relaxed,
		NoSigs: true, DontListen: cfg.Listen == "", DisableJetStreamBanner: true,
		Authorization: cfg.Token, MaxPayload: int32(cmp.Or(cfg.MaxPayload, defaultPayload)), JetStreamMaxStore: cfg.MaxStore,
	}
	if cfg.Listen != "" {
		host, port, err := net.SplitHostPort(cfg.Listen)
		if err != nil {
			return nil, fmt.Errorf("listen for NATS on %q: %w", cfg.Listen, err)
		}
		opts.Host = host
		if opts.Port, err = strconv.Atoi(port); err != nil {
			return nil, fmt.Errorf("listen for NATS on %q: %w", cfg.Listen, err)
		}
		if opts.Port == 0 {
			opts.Port = server.RANDOM_PORT
		}
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	bridge := &logBridge{log: log, fatal: make(chan string, 1)}
	srv.SetLoggerV2(bridge, false, false, false)
	if err := start(srv, bridge.fatal); err != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, err
	}
	return &Server{srv: srv, token: cfg.Token}, nil
}

// start returns when the server serves, or with what it called fatal: it logs
// that and goes on without the part that failed.
func start(srv *server.Server, fatal <-chan string) error {
	srv.Start()
	select {
	case why := <-fatal:
		return fmt.Errorf("%w: %s", ErrStart, why)
	default:
	}
	if !srv.ReadyForConnections(startTimeout) {
		return fmt.Errorf("%w: not ready after %s", ErrStart, startTimeout)
	}
	return nil
}

// InProcess is the connect option for a client inside this process.
func (s *Server) InProcess() []nats.Option {
	return []nats.Option{nats.InProcessServer(s.srv), nats.Token(s.token)}
}

// Addr is where the server listens for other clients; nil when it does not.
func (s *Server) Addr() net.Addr { return s.srv.Addr() }

// Shutdown stops the server and returns when its files are closed.
func (s *Server) Shutdown() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}

// logBridge hands the server's log lines on to slog. Fatal lines are kept for
// StartServer, which returns them.
type logBridge struct {
	log   *slog.Logger
	fatal chan string
}

func (b *logBridge) Noticef(format string, v ...any) { b.line(b.log.Debug, format, v) }
func (b *logBridge) Warnf(format string, v ...any)   { b.line(b.log.Warn, format, v) }
func (b *logBridge) Errorf(format string, v ...any)  { b.line(b.log.Error, format, v) }
func (b *logBridge) Debugf(string, ...any)           {}
func (b *logBridge) Tracef(string, ...any)           {}

func (b *logBridge) Fatalf(format string, v ...any) {
	select {
	case b.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}

func (b *logBridge) line(out func(string, ...any), format string, v []any) {
	out("nats server", "line", fmt.Sprintf(format, v...))
}

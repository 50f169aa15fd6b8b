package client

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"

	monitorablev1 "monitorable.dev/gen/monitorable/v1"
)

// serve serves a component on a free port and turns its loop until stopped.
func serve(t *testing.T, component *Component) (connection *grpc.ClientConn, stopLoop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	monitorablev1.RegisterMonitorableServer(server, component)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				component.Turn(10 * time.Millisecond)
			}
		}
	}()
	connection, err = Dial(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection, func() { close(stop) }
}

func TestHealthFollowsTheChecks(t *testing.T) {
	component := NewComponent("parser")
	var trouble error
	component.AddCheck("input", func() error { return trouble })
	connection, stop := serve(t, component)
	client := monitorablev1.NewMonitorableClient(connection)
	answer, err := client.GetHealthStatus(context.Background(), &monitorablev1.GetHealthStatusRequest{Nonce: "n"})
	if err != nil || answer.Nonce != "n" || !answer.Health.Healthy {
		t.Fatalf("%v %v", answer, err)
	}
	stop()
	trouble = errors.New("no input")
	go component.Turn(5 * time.Second)
	answer, err = client.GetHealthStatus(context.Background(), &monitorablev1.GetHealthStatusRequest{})
	if err != nil || answer.Health.Healthy || answer.Health.ErrorMessage != "input: no input" {
		t.Fatalf("%v %v", answer, err)
	}
}

func TestAHungLoopIsNotHealthy(t *testing.T) {
	component := NewComponent("parser")
	connection, stop := serve(t, component)
	stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	heard := 0
	err := WatchHealth(ctx, connection, time.Second, func(*monitorablev1.WatchHealthResponse) error {
		heard++
		return nil
	})
	if err == nil || heard > 1 {
		t.Fatalf("a hung loop was heard %d times: %v", heard, err)
	}
}

func TestWatchHealthEndsWithItsListener(t *testing.T) {
	connection, _ := serve(t, NewComponent("parser"))
	enough := errors.New("enough")
	var sequences []uint64
	err := WatchHealth(context.Background(), connection, 100*time.Millisecond,
		func(message *monitorablev1.WatchHealthResponse) error {
			sequences = append(sequences, message.Health.Sequence)
			if len(sequences) == 3 {
				return enough
			}
			return nil
		})
	if !errors.Is(err, enough) || sequences[0] >= sequences[1] || sequences[1] >= sequences[2] {
		t.Fatalf("%v %v", sequences, err)
	}
}

// Package client talks to the services of the Monitorable contract: an agent
// hands in events with a Run, an observer follows a component's health with
// WatchHealth, and a Go program becomes a component itself with a Component.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/durationpb"

	monitorablev1 "monitorable.dev/gen/monitorable/v1"
)

// ErrSilent is returned where a component broke its promise to be heard: its
// stream is open and says nothing. The component may be dead.
var ErrSilent = errors.New("the health stream is silent")

// firstMessageWithin bounds the wait for a stream's first message, which no
// promise covers yet.
const firstMessageWithin = 5 * time.Second

// Dial makes a connection that notices a dead peer. Without options it is not
// encrypted; pass transport credentials to encrypt it.
func Dial(target string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	defaults := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:    20 * time.Second,
			Timeout: 10 * time.Second,
		}),
	}
	return grpc.NewClient(target, append(defaults, options...)...)
}

// WatchHealth calls heard for every message of a component's health stream,
// until the stream ends in order (nil), heard fails (its error), the context
// ends, or the component is not heard within the time that it promised
// (ErrSilent). maxInterval is the longest silence that the caller accepts.
func WatchHealth(
	ctx context.Context,
	connection grpc.ClientConnInterface,
	maxInterval time.Duration,
	heard func(*monitorablev1.WatchHealthResponse) error,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := monitorablev1.NewMonitorableClient(connection).WatchHealth(
		ctx, &monitorablev1.WatchHealthRequest{MaxInterval: durationpb.New(maxInterval)})
	if err != nil {
		return fmt.Errorf("watch health: %w", err)
	}
	promise := firstMessageWithin
	for {
		overdue := time.AfterFunc(promise, func() {
			cancel(fmt.Errorf("%w for longer than the promised %v", ErrSilent, promise))
		})
		message, err := stream.Recv()
		overdue.Stop()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && context.Cause(ctx) != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("watch health: %w", err)
		}
		if err := heard(message); err != nil {
			return err
		}
		if message.NextWithin == nil {
			// No promise, as on the last message: the end comes next.
			promise = firstMessageWithin
		} else {
			promise = message.NextWithin.AsDuration() + time.Second
		}
	}
}

// Roundtrip publishes a run to a bridge, reads its health and asks a monitor
// to audit it: roundtrip -bridge HOST:PORT -monitor HOST:PORT -component ID.
// It prints one JSON object.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"

	bridgev1 "monitorable.dev/gen/bridge/v1"
	monitorv1 "monitorable.dev/gen/monitor/v1"
	monitorablev1 "monitorable.dev/gen/monitorable/v1"

	"monitorable.dev/client"
)

// result is what the program prints.
type result struct {
	RunID        string   `json:"run_id"`
	Sequences    []uint64 `json:"sequences"`
	Accepted     uint64   `json:"accepted"`
	Pending      uint64   `json:"pending"`
	State        string   `json:"state"`
	Reason       string   `json:"reason"`
	NextWithinMS int64    `json:"next_within_ms"`
	Verdict      string   `json:"verdict"`
}

func main() {
	bridge := flag.String("bridge", "127.0.0.1:50051", "the bridge's gRPC address")
	monitor := flag.String("monitor", "127.0.0.1:50061", "the monitor's gRPC address")
	component := flag.String("component", "bridge-service", "the component to audit")
	thread := flag.String("thread", "go-thread", "the thread to publish on")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	found, err := roundtrip(ctx, *bridge, *monitor, *component, *thread)
	if err != nil {
		fmt.Fprintln(os.Stderr, "roundtrip:", err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(found)
}

func roundtrip(ctx context.Context, bridge, monitor, component, thread string) (*result, error) {
	toBridge, err := client.Dial(bridge)
	if err != nil {
		return nil, err
	}
	defer func() { _ = toBridge.Close() }()
	toMonitor, err := client.Dial(monitor)
	if err != nil {
		return nil, err
	}
	defer func() { _ = toMonitor.Close() }()
	found := &result{}
	if err := publish(ctx, toBridge, thread, found); err != nil {
		return nil, err
	}
	if err := watch(ctx, toBridge, found); err != nil {
		return nil, err
	}
	audited, err := monitorv1.NewMonitorClient(toMonitor).AuditComponent(
		ctx, &monitorv1.AuditComponentRequest{ComponentId: component})
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	found.Verdict = audited.Audit.OverallAssessment.Verdict.String()
	return found, nil
}

func publish(ctx context.Context, bridge *grpc.ClientConn, thread string, found *result) error {
	run := client.NewRun(bridge, thread, "go-agent")
	found.RunID = run.ID()
	steps := []func() (*bridgev1.Receipt, error){
		func() (*bridgev1.Receipt, error) { return run.Start(ctx, nil) },
		func() (*bridgev1.Receipt, error) { return run.ToolExecuting(ctx, "search", "call-1", nil) },
		func() (*bridgev1.Receipt, error) { return run.ToolCompleted(ctx, "search", "call-1", 42) },
		func() (*bridgev1.Receipt, error) { return run.Message(ctx, map[string]string{"text": "hello"}) },
		func() (*bridgev1.Receipt, error) { return run.Complete(ctx, nil) },
	}
	for _, step := range steps {
		receipt, err := step()
		if err != nil {
			return err
		}
		found.Sequences = append(found.Sequences, receipt.Sequence)
	}
	answer, err := bridgev1.NewAgentEventsClient(bridge).GetRunLedger(
		ctx, &bridgev1.GetRunLedgerRequest{RunId: run.ID()})
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	found.Accepted = answer.Ledger.EventsAccepted
	found.Pending = answer.Ledger.EventsPending
	return nil
}

func watch(ctx context.Context, bridge *grpc.ClientConn, found *result) error {
	enough := errors.New("one message is enough")
	err := client.WatchHealth(ctx, bridge, time.Second,
		func(message *monitorablev1.WatchHealthResponse) error {
			found.State = message.Health.State.String()
			found.Reason = message.Reason.String()
			found.NextWithinMS = message.NextWithin.AsDuration().Milliseconds()
			return enough
		})
	if !errors.Is(err, enough) {
		return err
	}
	return nil
}

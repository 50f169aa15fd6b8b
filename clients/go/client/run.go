package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	bridgev1 "monitorable.dev/gen/bridge/v1"
)

// RejectedError says that the bridge refused an event, and why.
type RejectedError struct {
	Receipt *bridgev1.Receipt
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("event %s was refused: %s", e.Receipt.EventId, e.Receipt.Error)
}

// Run is one run of an agent inside one chat. Its methods hand in its events
// and return the bridge's receipts. It is not safe for concurrent use: a run's
// events have an order.
type Run struct {
	bridge    bridgev1.AgentEventsClient
	id        string
	threadID  string
	agentName string
	count     uint64
}

// NewRun prepares a run with a new id on a thread; nothing is sent yet.
func NewRun(connection grpc.ClientConnInterface, threadID, agentName string) *Run {
	return &Run{
		bridge:    bridgev1.NewAgentEventsClient(connection),
		id:        rand.Text(),
		threadID:  threadID,
		agentName: agentName,
	}
}

// ID is the run's id.
func (r *Run) ID() string { return r.id }

// Start says that the run begins.
func (r *Run) Start(ctx context.Context, data any) (*bridgev1.Receipt, error) {
	return r.publish(ctx, bridgev1.EventType_EVENT_TYPE_AGENT_STARTED, data, "", "")
}

// Think tells what the agent says beside its work.
func (r *Run) Think(ctx context.Context, data any) (*bridgev1.Receipt, error) {
	return r.publish(ctx, bridgev1.EventType_EVENT_TYPE_AGENT_THINKING, data, "", "")
}

// ToolExecuting says that a tool call begins.
func (r *Run) ToolExecuting(ctx context.Context, name, callID string, data any) (*bridgev1.Receipt, error) {
	return r.publish(ctx, bridgev1.EventType_EVENT_TYPE_TOOL_EXECUTING, data, name, callID)
}

// ToolCompleted says that a tool call ended.
func (r *Run) ToolCompleted(ctx context.Context, name, callID string, data any) (*bridgev1.Receipt, error) {
	return r.publish(ctx, bridgev1.EventType_EVENT_TYPE_TOOL_COMPLETED, data, name, callID)
}

// Message hands the agent's message to the user.
func (r *Run) Message(ctx context.Context, data any) (*bridgev1.Receipt, error) {
	return r.publish(ctx, bridgev1.EventType_EVENT_TYPE_AGENT_MESSAGE, data, "", "")
}

// Complete says that the run ended well.
func (r *Run) Complete(ctx context.Context, data any) (*bridgev1.Receipt, error) {
	return r.publish(ctx, bridgev1.EventType_EVENT_TYPE_AGENT_COMPLETED, data, "", "")
}

// Fail says that the run ended badly.
func (r *Run) Fail(ctx context.Context, data any) (*bridgev1.Receipt, error) {
	return r.publish(ctx, bridgev1.EventType_EVENT_TYPE_AGENT_ERROR, data, "", "")
}

func (r *Run) publish(
	ctx context.Context, kind bridgev1.EventType, data any, tool, callID string,
) (*bridgev1.Receipt, error) {
	encoded, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("data of %v: %w", kind, err)
	}
	r.count++
	event := &bridgev1.AgentEvent{
		EventId:          fmt.Sprintf("%s.%d", r.id, r.count),
		ThreadId:         r.threadID,
		RunId:            r.id,
		AgentName:        r.agentName,
		Type:             kind,
		CreateTime:       timestamppb.Now(),
		ToolName:         tool,
		ToolCallId:       callID,
		Data:             encoded,
		ProducerSequence: r.count,
	}
	answer, err := r.bridge.Publish(ctx, &bridgev1.PublishRequest{Events: []*bridgev1.AgentEvent{event}})
	if err != nil {
		return nil, fmt.Errorf("publish %v: %w", kind, err)
	}
	if len(answer.Receipts) != 1 {
		return nil, fmt.Errorf("publish %v: %d receipts for one event", kind, len(answer.Receipts))
	}
	receipt := answer.Receipts[0]
	if receipt.Status == bridgev1.Status_STATUS_REJECTED {
		return receipt, &RejectedError{Receipt: receipt}
	}
	return receipt, nil
}

package client

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	monitorablev1 "monitorable.dev/gen/monitorable/v1"
)

const (
	answerWithin       = 2 * time.Second
	defaultMaxInterval = 30 * time.Second
	minMaxInterval     = 100 * time.Millisecond
	maxMaxInterval     = 24 * time.Hour
	maxNonceBytes      = 256
)

// Check is one self-check: nil where all is well.
type Check func() error

// Component makes a Go program auditable: register it on a gRPC server with
// monitorablev1.RegisterMonitorableServer, and call Turn from the loop that
// does the program's work. Every answer is made inside Turn, so a loop that
// hangs cannot look healthy.
type Component struct {
	monitorablev1.UnimplementedMonitorableServer

	id       string
	instance string
	began    time.Time
	names    []string
	checks   map[string]Check
	asked    chan chan *monitorablev1.HealthStatus

	sequence uint64
	failures uint32
	rounds   uint64
	mutex    sync.Mutex // Guards rounds, which GetMetrics reads outside of Turn.
}

// NewComponent makes a component under its stable name.
func NewComponent(id string) *Component {
	return &Component{
		id:       id,
		instance: rand.Text(),
		began:    time.Now(),
		checks:   map[string]Check{},
		asked:    make(chan chan *monitorablev1.HealthStatus),
	}
}

// AddCheck adds a self-check under a stable name; before the first Turn.
func (c *Component) AddCheck(name string, check Check) {
	c.names = append(c.names, name)
	c.checks[name] = check
}

// Turn answers one question about the health, if one is asked before the
// timeout. Call it from the working loop.
func (c *Component) Turn(timeout time.Duration) {
	select {
	case answer := <-c.asked:
		answer <- c.health()
	case <-time.After(timeout):
	}
}

func (c *Component) health() *monitorablev1.HealthStatus {
	c.sequence++
	health := &monitorablev1.HealthStatus{
		ComponentId: c.id,
		InstanceId:  c.instance,
		Sequence:    c.sequence,
		State:       monitorablev1.State_STATE_ACTIVE,
		Healthy:     true,
	}
	for _, name := range c.names {
		began := time.Now()
		err := c.checks[name]()
		check := &monitorablev1.Check{
			Name: name, Healthy: err == nil, Latency: durationpb.New(time.Since(began)),
		}
		if err != nil {
			check.Message = err.Error()
			health.State = monitorablev1.State_STATE_DEGRADED
			health.Healthy = false
			health.ErrorMessage = name + ": " + err.Error()
		}
		health.Checks = append(health.Checks, check)
	}
	c.failures++
	if health.Healthy {
		c.failures = 0
	}
	c.mutex.Lock()
	c.rounds++
	c.mutex.Unlock()
	health.ConsecutiveFailures = c.failures
	health.ObserveTime = timestamppb.Now()
	health.LastHealthCheckTime = health.ObserveTime
	health.Uptime = durationpb.New(time.Since(c.began))
	return health
}

// ask gets an answer from the working loop, or UNAVAILABLE.
func (c *Component) ask(ctx context.Context) (*monitorablev1.HealthStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	answer := make(chan *monitorablev1.HealthStatus, 1)
	select {
	case c.asked <- answer:
	case <-ctx.Done():
		return nil, status.Errorf(codes.Unavailable, "the working loop did not answer within %v", answerWithin)
	}
	return <-answer, nil
}

// GetHealthStatus serves monitorable.v1.Monitorable.
func (c *Component) GetHealthStatus(
	ctx context.Context, request *monitorablev1.GetHealthStatusRequest,
) (*monitorablev1.GetHealthStatusResponse, error) {
	if size := len(request.Nonce); size > maxNonceBytes {
		return nil, status.Errorf(codes.InvalidArgument, "nonce: %d bytes; allowed are %d", size, maxNonceBytes)
	}
	health, err := c.ask(ctx)
	if err != nil {
		return nil, err
	}
	return &monitorablev1.GetHealthStatusResponse{Health: health, Nonce: request.Nonce}, nil
}

// GetMetrics serves monitorable.v1.Monitorable.
func (c *Component) GetMetrics(
	ctx context.Context, _ *monitorablev1.GetMetricsRequest,
) (*monitorablev1.GetMetricsResponse, error) {
	health, err := c.ask(ctx)
	if err != nil {
		return nil, err
	}
	c.mutex.Lock()
	rounds := c.rounds
	c.mutex.Unlock()
	return &monitorablev1.GetMetricsResponse{Metrics: &monitorablev1.Metrics{
		ComponentId: c.id,
		InstanceId:  c.instance,
		ObserveTime: health.ObserveTime,
		Lifecycle: &monitorablev1.LifecycleMetrics{
			TotalInitializations:      1,
			SuccessfulInitializations: 1,
			HealthChecksPerformed:     rounds,
			SuccessRate:               1,
		},
	}}, nil
}

// WatchHealth serves monitorable.v1.Monitorable.
func (c *Component) WatchHealth(
	request *monitorablev1.WatchHealthRequest, stream monitorablev1.Monitorable_WatchHealthServer,
) error {
	interval := defaultMaxInterval
	if request.MaxInterval != nil {
		interval = request.MaxInterval.AsDuration()
		if request.MaxInterval.CheckValid() != nil || interval <= 0 || interval > maxMaxInterval {
			return status.Errorf(codes.InvalidArgument, "max_interval: %v; allowed is more than 0 and at most %v", interval, maxMaxInterval)
		}
	}
	interval = max(interval, minMaxInterval)
	reason, healthy := monitorablev1.Reason_REASON_INITIAL, false
	for {
		health, err := c.ask(stream.Context())
		if err != nil {
			return err
		}
		if reason == monitorablev1.Reason_REASON_HEARTBEAT && health.Healthy != healthy {
			reason = monitorablev1.Reason_REASON_CHANGED
		}
		healthy = health.Healthy
		err = stream.Send(&monitorablev1.WatchHealthResponse{
			Health: health, Reason: reason, NextWithin: durationpb.New(interval),
		})
		if err != nil {
			return err
		}
		reason = monitorablev1.Reason_REASON_HEARTBEAT
		select {
		case <-stream.Context().Done():
			return nil
		case <-time.After(interval / 2):
		}
	}
}

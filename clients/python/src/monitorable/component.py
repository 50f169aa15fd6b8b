"""Becoming a component that a monitor can audit."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures
from datetime import timedelta

import grpc
from google.protobuf.duration_pb2 import Duration

from monitorable.v1 import monitorable_pb2 as pb
from monitorable.v1 import monitorable_pb2_grpc

ANSWER_WITHIN_SECONDS = 2.0
DEFAULT_MAX_INTERVAL = timedelta(seconds=30)
MIN_MAX_INTERVAL = timedelta(milliseconds=100)
MAX_MAX_INTERVAL = timedelta(days=1)
MAX_NONCE_BYTES = 256
# Health streams and calls served at once; each takes one thread.
WORKERS = 16


class Component(monitorable_pb2_grpc.MonitorableServicer):
    """Serves the Monitorable contract for a program that has a working loop.

    Call :meth:`turn` from that loop: every answer is made inside it, so a loop
    that hangs cannot look healthy. ``checks`` are self-checks by their stable
    names; each raises an exception where something is wrong.
    """

    def __init__(self, component_id: str, checks: dict[str, Callable[[], None]] | None = None):
        self.component_id = component_id
        self.instance_id = uuid.uuid4().hex
        self._checks = dict(checks or {})
        self._began = time.monotonic()
        self._asked: queue.Queue[queue.SimpleQueue[pb.HealthStatus]] = queue.Queue(WORKERS)
        self._sequence = 0
        self._failures = 0
        self._draining = threading.Event()

    def serve(self, address: str) -> tuple[grpc.Server, int]:
        """Starts a server at an address and returns it with its port."""
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=WORKERS))
        monitorable_pb2_grpc.add_MonitorableServicer_to_server(self, server)
        port = server.add_insecure_port(address)
        server.start()
        return server, port

    def drain(self) -> None:
        """Tells watchers that the component shuts down in order. Keep turning until it has."""
        self._draining.set()

    def turn(self, timeout: float = 0.0) -> None:
        """Answers one question about the health, if one is asked before the timeout in seconds."""
        try:
            answer = self._asked.get(timeout=timeout) if timeout > 0 else self._asked.get_nowait()
        except queue.Empty:
            return
        answer.put(self._health())

    def _health(self) -> pb.HealthStatus:
        self._sequence += 1
        health = pb.HealthStatus(
            component_id=self.component_id,
            instance_id=self.instance_id,
            sequence=self._sequence,
        )
        for name, check in self._checks.items():
            health.checks.append(_run(name, check))
        failed = [check for check in health.checks if not check.healthy]
        self._failures = self._failures + 1 if failed else 0
        health.consecutive_failures = self._failures
        if failed:
            health.error_message = f"{failed[0].name}: {failed[0].message}"
        if self._draining.is_set():
            health.state = pb.STATE_DRAINING
        else:
            health.state = pb.STATE_DEGRADED if failed else pb.STATE_ACTIVE
        health.healthy = health.state == pb.STATE_ACTIVE
        health.observe_time.GetCurrentTime()
        health.last_health_check_time.CopyFrom(health.observe_time)
        health.uptime.FromTimedelta(timedelta(seconds=time.monotonic() - self._began))
        return health

    def _ask(self, context: grpc.ServicerContext) -> pb.HealthStatus:
        answer: queue.SimpleQueue[pb.HealthStatus] = queue.SimpleQueue()
        try:
            self._asked.put(answer, timeout=ANSWER_WITHIN_SECONDS)
            return answer.get(timeout=ANSWER_WITHIN_SECONDS)
        except (queue.Full, queue.Empty):
            message = f"the working loop did not answer within {ANSWER_WITHIN_SECONDS} s"
            context.abort(grpc.StatusCode.UNAVAILABLE, message)
            raise

    def GetHealthStatus(self, request, context):  # noqa: N802, the contract's name
        size = len(request.nonce.encode())
        if size > MAX_NONCE_BYTES:
            message = f"nonce: {size} bytes; allowed are {MAX_NONCE_BYTES}"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
        health = self._ask(context)
        return pb.GetHealthStatusResponse(health=health, nonce=request.nonce)

    def GetMetrics(self, request, context):  # noqa: N802
        health = self._ask(context)
        lifecycle = pb.LifecycleMetrics(
            total_initializations=1,
            successful_initializations=1,
            health_checks_performed=health.sequence,
            success_rate=1.0,
        )
        metrics = pb.Metrics(
            component_id=self.component_id,
            instance_id=self.instance_id,
            observe_time=health.observe_time,
            lifecycle=lifecycle,
        )
        return pb.GetMetricsResponse(metrics=metrics)

    def WatchHealth(self, request, context) -> Iterator[pb.WatchHealthResponse]:  # noqa: N802
        interval = self._interval(request, context)
        promise = Duration()
        promise.FromTimedelta(interval)
        reason, state = pb.REASON_INITIAL, None
        while context.is_active():
            health = self._ask(context)
            if health.state == pb.STATE_DRAINING:
                yield pb.WatchHealthResponse(health=health, reason=pb.REASON_DRAINING)
                return
            if reason == pb.REASON_HEARTBEAT and health.state != state:
                reason = pb.REASON_CHANGED
            state = health.state
            yield pb.WatchHealthResponse(health=health, reason=reason, next_within=promise)
            reason = pb.REASON_HEARTBEAT
            self._draining.wait(interval.total_seconds() / 2)

    @staticmethod
    def _interval(request: pb.WatchHealthRequest, context: grpc.ServicerContext) -> timedelta:
        if not request.HasField("max_interval"):
            return DEFAULT_MAX_INTERVAL
        interval = request.max_interval.ToTimedelta()
        if not timedelta(0) < interval <= MAX_MAX_INTERVAL:
            message = f"max_interval: {interval}; allowed is more than 0 and at most a day"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
        return max(interval, MIN_MAX_INTERVAL)


def _run(name: str, check: Callable[[], None]) -> pb.Check:
    began = time.monotonic()
    result = pb.Check(name=name, healthy=True)
    try:
        check()
    except Exception as error:  # A check may fail in any way; none may stop the loop.
        result.healthy = False
        result.message = str(error) or type(error).__name__
    result.latency.FromTimedelta(timedelta(seconds=time.monotonic() - began))
    return result

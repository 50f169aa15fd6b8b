"""Following a component's health, and noticing when it falls silent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import grpc
from google.protobuf.duration_pb2 import Duration

from monitorable.v1 import monitorable_pb2, monitorable_pb2_grpc

# Bounds the wait for a stream's first message, which no promise covers yet.
FIRST_MESSAGE_WITHIN = timedelta(seconds=5)
# Added to every promise: the message's own way takes time too.
GRACE = timedelta(seconds=1)

_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class SilentError(Exception):
    """The stream is open and says nothing: the component may be dead."""


def connect(target: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """A channel that notices a dead peer; not encrypted without credentials."""
    if credentials is None:
        return grpc.insecure_channel(target, options=_KEEPALIVE)
    return grpc.secure_channel(target, credentials, options=_KEEPALIVE)


def watch_health(
    channel: grpc.Channel, max_interval: timedelta = timedelta(seconds=1)
) -> Iterator[monitorable_pb2.WatchHealthResponse]:
    """Yields every message of a component's health stream until it ends in order.

    ``max_interval`` is the longest silence that the caller accepts.

    Raises:
        SilentError: no message came within the time that the last one promised.
        grpc.RpcError: the stream broke.
    """
    asked = Duration()
    asked.FromTimedelta(max_interval)
    request = monitorable_pb2.WatchHealthRequest(max_interval=asked)
    stream = monitorable_pb2_grpc.MonitorableStub(channel).WatchHealth(request)
    promise = FIRST_MESSAGE_WITHIN
    silent = threading.Event()
    try:
        while True:
            overdue = threading.Timer(promise.total_seconds(), _cancel, (stream, silent))
            overdue.daemon = True
            overdue.start()
            try:
                message = next(stream)
            except StopIteration:
                return
            except grpc.RpcError:
                if silent.is_set():
                    raise SilentError(f"no message for longer than {promise}") from None
                raise
            finally:
                overdue.cancel()
            yield message
            if message.HasField("next_within"):
                promise = message.next_within.ToTimedelta() + GRACE
            else:
                promise = FIRST_MESSAGE_WITHIN
    finally:
        stream.cancel()


def _cancel(stream: grpc.Future, silent: threading.Event) -> None:
    silent.set()
    stream.cancel()

"""Handing in the events of an agent's run."""

from __future__ import annotations

import json
import uuid
from typing import Any

import grpc

from bridge.v1 import bridge_pb2, bridge_pb2_grpc


class RejectedError(Exception):
    """The bridge refused an event; ``receipt.error`` says why."""

    def __init__(self, receipt: bridge_pb2.Receipt) -> None:
        super().__init__(f"event {receipt.event_id} was refused: {receipt.error}")
        self.receipt = receipt


class Run:
    """One run of an agent inside one chat.

    Each method hands in one event and returns the bridge's receipt. Not for
    use from several threads at once: a run's events have an order. ``data`` is
    anything that :mod:`json` can write.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        thread_id: str,
        *,
        run_id: str | None = None,
        agent_name: str = "",
        user_id: str = "",
        timeout: float = 10.0,
    ) -> None:
        self._bridge = bridge_pb2_grpc.AgentEventsStub(channel)
        self._timeout = timeout
        self._count = 0
        self.run_id = run_id or uuid.uuid4().hex
        self.thread_id = thread_id
        self.agent_name = agent_name
        self.user_id = user_id

    def start(self, data: Any = None) -> bridge_pb2.Receipt:
        """The run begins."""
        return self._publish(bridge_pb2.EVENT_TYPE_AGENT_STARTED, data)

    def think(self, data: Any) -> bridge_pb2.Receipt:
        """What the agent says beside its work."""
        return self._publish(bridge_pb2.EVENT_TYPE_AGENT_THINKING, data)

    def tool_executing(self, name: str, call_id: str, data: Any = None) -> bridge_pb2.Receipt:
        """A tool call begins."""
        return self._publish(bridge_pb2.EVENT_TYPE_TOOL_EXECUTING, data, name, call_id)

    def tool_completed(self, name: str, call_id: str, data: Any = None) -> bridge_pb2.Receipt:
        """A tool call ended."""
        return self._publish(bridge_pb2.EVENT_TYPE_TOOL_COMPLETED, data, name, call_id)

    def message(self, data: Any) -> bridge_pb2.Receipt:
        """The agent's message to the user."""
        return self._publish(bridge_pb2.EVENT_TYPE_AGENT_MESSAGE, data)

    def complete(self, data: Any = None) -> bridge_pb2.Receipt:
        """The run ended well."""
        return self._publish(bridge_pb2.EVENT_TYPE_AGENT_COMPLETED, data)

    def fail(self, data: Any = None) -> bridge_pb2.Receipt:
        """The run ended badly."""
        return self._publish(bridge_pb2.EVENT_TYPE_AGENT_ERROR, data)

    def ledger(self) -> bridge_pb2.RunLedger:
        """Where the bridge says that the run's events are."""
        request = bridge_pb2.GetRunLedgerRequest(run_id=self.run_id)
        return self._bridge.GetRunLedger(request, timeout=self._timeout).ledger

    def _publish(
        self, kind: int, data: Any, tool_name: str = "", tool_call_id: str = ""
    ) -> bridge_pb2.Receipt:
        self._count += 1
        event = bridge_pb2.AgentEvent(
            event_id=f"{self.run_id}.{self._count}",
            user_id=self.user_id,
            thread_id=self.thread_id,
            run_id=self.run_id,
            agent_name=self.agent_name,
            type=kind,
            tool_name=tool_name,
            tool_call_id=tool_call_id,
            data=json.dumps(data).encode(),
            producer_sequence=self._count,
        )
        event.create_time.GetCurrentTime()
        request = bridge_pb2.PublishRequest(events=[event])
        (receipt,) = self._bridge.Publish(request, timeout=self._timeout).receipts
        if receipt.status == bridge_pb2.STATUS_REJECTED:
            raise RejectedError(receipt)
        return receipt

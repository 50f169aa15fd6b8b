"""A component against its own client, over a real connection."""

import threading
import unittest
from datetime import timedelta

import grpc

import monitorable
from monitorable.v1 import monitorable_pb2, monitorable_pb2_grpc


class ComponentTest(unittest.TestCase):
    def setUp(self) -> None:
        self.trouble: Exception | None = None
        self.component = monitorable.Component("parser", {"input": self.check})
        self.server, port = self.component.serve("127.0.0.1:0")
        self.channel = monitorable.connect(f"127.0.0.1:{port}")
        self.stub = monitorable_pb2_grpc.MonitorableStub(self.channel)
        self.stop = threading.Event()
        self.loop = threading.Thread(target=self.work)
        self.loop.start()

    def tearDown(self) -> None:
        self.stop.set()
        self.loop.join()
        self.channel.close()
        self.server.stop(grace=None).wait()

    def check(self) -> None:
        if self.trouble:
            raise self.trouble

    def work(self) -> None:
        while not self.stop.is_set():
            self.component.turn(timeout=0.01)

    def ask(self, nonce: str = "") -> monitorable_pb2.GetHealthStatusResponse:
        request = monitorable_pb2.GetHealthStatusRequest(nonce=nonce)
        return self.stub.GetHealthStatus(request, timeout=10)

    def test_health_follows_the_checks(self) -> None:
        answer = self.ask("n")
        self.assertEqual((answer.nonce, answer.health.healthy), ("n", True))
        self.trouble = ValueError("no input")
        health = self.ask().health
        self.assertFalse(health.healthy)
        self.assertEqual(health.error_message, "input: no input")

    def test_a_hung_loop_is_not_healthy(self) -> None:
        self.stop.set()
        self.loop.join()
        with self.assertRaises(grpc.RpcError) as raised:
            self.ask()
        self.assertEqual(raised.exception.code(), grpc.StatusCode.UNAVAILABLE)

    def test_a_long_nonce_is_refused(self) -> None:
        with self.assertRaises(grpc.RpcError) as raised:
            self.ask("n" * 257)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)

    def test_a_watch_beats_and_ends_with_the_drain(self) -> None:
        reasons = []
        sequences = []
        for message in monitorable.watch_health(self.channel, timedelta(milliseconds=100)):
            reasons.append(message.reason)
            sequences.append(message.health.sequence)
            if len(reasons) == 3:
                self.component.drain()
        self.assertEqual(reasons[0], monitorable_pb2.REASON_INITIAL)
        self.assertEqual(reasons[-1], monitorable_pb2.REASON_DRAINING)
        self.assertEqual(sequences, sorted(set(sequences)))


if __name__ == "__main__":
    unittest.main()

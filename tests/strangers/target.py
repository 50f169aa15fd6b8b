"""A component in Python. Honest, or with --frozen one that stored an answer long ago and repeats
it while its working loop is dead. Prints its port and serves until it is ended."""

import argparse
import threading

import monitorable
from monitorable.v1 import monitorable_pb2 as pb


class Frozen(monitorable.Component):
    """Answers with the first health that it ever made: a cache in front of a dead worker."""

    _stored: pb.HealthStatus | None = None

    def _ask(self, context):
        if self._stored is None:
            self._stored = super()._ask(context)
        return self._stored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--id", required=True)
    parser.add_argument("--frozen", action="store_true")
    arguments = parser.parse_args()
    kind = Frozen if arguments.frozen else monitorable.Component
    component = kind(arguments.id, {"memory": lambda: None})
    _server, port = component.serve("127.0.0.1:0")
    print(f"listening on 127.0.0.1:{port}", flush=True)
    done = threading.Event()
    while not done.is_set():
        component.turn(timeout=0.05)


if __name__ == "__main__":
    main()

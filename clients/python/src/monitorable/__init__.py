"""The Monitorable contract in Python.

An agent hands in its events with a :class:`Run`, an observer follows a
component's health with :func:`watch_health`, and a Python program becomes a
component itself with a :class:`Component`.
"""

from .component import Component
from .health import SilentError, connect, watch_health
from .run import RejectedError, Run

__all__ = [
    "Component",
    "RejectedError",
    "Run",
    "SilentError",
    "connect",
    "watch_health",
]

"""An agent, an observer and an auditor's user in Python: publishes a run with the Python client,
watches the bridge's health and has the monitor audit it. Prints one JSON object."""

import argparse
import json
from datetime import timedelta

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

import monitorable
from monitor.v1 import audit_pb2, monitor_pb2, monitor_pb2_grpc
from monitorable.v1 import monitorable_pb2, monitorable_pb2_grpc


def publish(bridge: grpc.Channel, thread_id: str) -> dict:
    run = monitorable.Run(bridge, thread_id, agent_name="python-agent")
    receipts = [
        run.start(),
        run.think({"text": "Which flight?"}),
        run.tool_executing("search_flights", "call-1", {"to": "OSL"}),
        run.tool_completed("search_flights", "call-1", ["SK1"]),
        run.message({"text": "SK1 at noon, 12 €."}),
        run.complete(),
    ]
    ledger = run.ledger()
    return {
        "run_id": run.run_id,
        "sequences": [receipt.sequence for receipt in receipts],
        "accepted": ledger.events_accepted,
        "pending": ledger.events_pending,
        "finished": ledger.finished,
    }


def refused(bridge: grpc.Channel) -> str:
    try:
        monitorable.Run(bridge, "$reserved").start()
    except monitorable.RejectedError as error:
        return str(error)
    return ""


def watch(bridge: grpc.Channel) -> list[str]:
    reasons = []
    for message in monitorable.watch_health(bridge, timedelta(milliseconds=200)):
        reasons.append(monitorable_pb2.Reason.Name(message.reason))
        if len(reasons) == 3:
            return reasons
    return reasons


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bridge", required=True)
    parser.add_argument("--monitor", required=True)
    parser.add_argument("--component", required=True)
    parser.add_argument("--thread", required=True)
    arguments = parser.parse_args()
    with (
        monitorable.connect(arguments.bridge) as bridge,
        monitorable.connect(arguments.monitor) as monitor,
    ):
        found = publish(bridge, arguments.thread)
        found["refused"] = refused(bridge)
        found["reasons"] = watch(bridge)
        answer = monitorable_pb2_grpc.MonitorableStub(bridge).GetHealthStatus(
            monitorable_pb2.GetHealthStatusRequest(nonce="from-python"), timeout=10
        )
        found["nonce"] = answer.nonce
        found["component_id"] = answer.health.component_id
        # This library knows the older reflection only, v1alpha.
        found["services"] = list(ProtoReflectionDescriptorDatabase(bridge).get_services())
        check = health_pb2.HealthCheckRequest(service="monitorable.v1.Monitorable")
        status = health_pb2_grpc.HealthStub(bridge).Check(check, timeout=10).status
        found["serving"] = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
        audit = monitor_pb2_grpc.MonitorStub(monitor).AuditComponent(
            monitor_pb2.AuditComponentRequest(component_id=arguments.component), timeout=20
        ).audit
        found["verdict"] = audit_pb2.Verdict.Name(audit.overall_assessment.verdict)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

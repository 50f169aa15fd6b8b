"""A chat user with a WebSocket library of others: reads a part of a thread, leaves without a word,
comes back and resumes. Prints one JSON object."""

import argparse
import asyncio
import json

from websockets.asyncio.client import connect


async def read(url: str, count: int, **options) -> dict:
    """Reads the welcome and this many events, acknowledging each."""
    found = {"events": []}
    async with connect(url, **options) as socket:
        found["subprotocol"] = socket.subprotocol
        while len(found["events"]) < count:
            frame = json.loads(await asyncio.wait_for(socket.recv(), 10))
            if frame["type"] == "welcome":
                found["welcome"] = frame
            elif frame["type"] == "event":
                found["events"].append(frame)
                await socket.send(json.dumps({"type": "ack", "seq": frame["seq"]}))
        # As when a phone loses its network: no close frame.
        socket.transport.abort()
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http", required=True)
    parser.add_argument("--thread", required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--rest", type=int, required=True)
    arguments = parser.parse_args()
    url = f"ws://{arguments.http}/v1/events?thread_id={arguments.thread}"
    first = await read(url, arguments.first, subprotocols=["monitorable.v1.json"])
    last = first["events"][-1]
    resumed = await read(f"{url}&epoch={last['epoch']}&after={last['seq']}", arguments.rest)
    print(json.dumps({"first": first, "resumed": resumed}))


if __name__ == "__main__":
    asyncio.run(main())

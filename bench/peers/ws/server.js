// A Node `ws` server for the benchmark: subscribers at /sub/TOPIC, one publisher at /pub.
//
// A message to /pub is: length of the topic in two bytes, most significant first, the topic, the
// payload.

"use strict";

const { WebSocketServer } = require(process.argv[3] || "ws");

const SUBSCRIBER_PATH = "/sub/";

const topics = new Map();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  perMessageDeflate: false,
  backlog: 4096,
});

server.on("connection", (socket, request) => {
  if (request.url === "/pub") {
    socket.on("message", publish);
    return;
  }
  const topic = request.url.slice(SUBSCRIBER_PATH.length);
  const subscribers = topics.get(topic) || new Set();
  topics.set(topic, subscribers.add(socket));
  socket.on("close", () => subscribers.delete(socket));
});

function publish(message) {
  const length = message.readUInt16BE(0);
  const subscribers = topics.get(message.toString("latin1", 2, 2 + length));
  if (!subscribers) return;
  const payload = message.subarray(2 + length);
  for (const socket of subscribers) socket.send(payload, { binary: false });
}

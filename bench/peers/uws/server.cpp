// A uWebSockets server for the benchmark: subscribers at /sub/TOPIC, one publisher at /pub.
//
// A message to /pub is: length of the topic in two bytes, most significant first, the topic, the
// payload. It is published from the loop, not inside the message handler, where uWebSockets would
// batch less.

#include <App.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr unsigned kMaxBackpressure = 256 * 1024 * 1024;
constexpr unsigned kMaxPayload = 1024 * 1024;
constexpr std::string_view kSubscriberPath = "/sub/";

struct Subscriber {
    std::string topic;
};

struct Publisher {};

struct Message {
    std::string topic;
    std::string payload;
};

std::vector<Message> waiting;

void take(std::string_view message) {
    if (message.size() < 2) {
        return;
    }
    const auto byte = [&](size_t at) { return static_cast<std::uint8_t>(message[at]); };
    const size_t length = byte(0) << 8 | byte(1);
    message.remove_prefix(2);
    if (message.size() >= length) {
        waiting.push_back({std::string(message.substr(0, length)), std::string(message.substr(length))});
    }
}

}  // namespace

int main(int count, char **arguments) {
    const int port = count > 1 ? std::atoi(arguments[1]) : 0;
    uWS::App app;
    app.ws<Subscriber>("/sub/*", {
        .compression = uWS::DISABLED,
        .maxPayloadLength = kMaxPayload,
        .maxBackpressure = kMaxBackpressure,
        .upgrade = [](auto *response, auto *request, auto *context) {
            std::string topic(request->getUrl().substr(kSubscriberPath.size()));
            response->template upgrade<Subscriber>({topic},
                request->getHeader("sec-websocket-key"),
                request->getHeader("sec-websocket-protocol"),
                request->getHeader("sec-websocket-extensions"), context);
        },
        .open = [](auto *socket) { socket->subscribe(socket->getUserData()->topic); },
    });
    app.ws<Publisher>("/pub", {
        .compression = uWS::DISABLED,
        .maxPayloadLength = kMaxPayload,
        .message = [](auto *, std::string_view message, uWS::OpCode) { take(message); },
    });
    app.listen("127.0.0.1", port, [&](auto *listening) {
        if (!listening) {
            std::cerr << "port " << port << " cannot be bound" << std::endl;
            std::exit(EXIT_FAILURE);
        }
    });
    uWS::Loop::get()->addPostHandler(&waiting, [&](uWS::Loop *) {
        for (const Message &message : waiting) {
            app.publish(message.topic, message.payload, uWS::OpCode::TEXT);
        }
        waiting.clear();
    });
    app.run();
}

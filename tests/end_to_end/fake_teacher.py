"""An OpenAI-compatible chat endpoint on loopback that answers as a test wants, and remembers who asked."""

import collections
import http.server
import json
import select
import socket
import threading


class FakeTeacher:
    """`mode` may be changed at any time: good, 401, 402, 429, 500, broken, hang, drop."""

    def __init__(self, mode="good"):
        self.mode = mode
        self.asked = collections.Counter()  # by Idempotency-Key, which is the request id of the sample
        self.answers_left = None  # how many answers may go out before the next allow(); None for any number
        self.lock = threading.Condition()
        self.stopping = threading.Event()
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                endpoint.answer(self)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # a client that was killed is part of the test

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def total(self):
        with self.lock:
            return sum(self.asked.values())

    def allow(self, answers):
        """Holds back all but the next `answers` answers; None lets all out."""
        with self.lock:
            self.answers_left = answers
            self.lock.notify_all()

    def await_turn(self, connection):
        """False when the client is gone: it takes no turn, then."""
        with self.lock:
            while True:
                if select.select([connection], [], [], 0)[0] and not connection.recv(1, socket.MSG_PEEK):
                    return False
                if self.answers_left != 0 or self.stopping.is_set():
                    break
                self.lock.wait(0.02)
            if self.answers_left is not None:
                self.answers_left -= 1
            return True

    def close(self):
        self.stopping.set()
        self.allow(None)
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.asked[handler.headers.get("Idempotency-Key", "")] += 1
        mode = self.mode
        if mode == "hang":
            self.stopping.wait(60)
            return
        if not self.await_turn(handler.connection):
            handler.close_connection = True
            return
        if mode == "drop":
            handler.close_connection = True
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"choices\":")
            return
        if mode == "broken":
            return self.send(handler, 200, b'{"choices": [{"mess')
        if mode != "good":
            return self.send(handler, int(mode), json.dumps({"error": {"message": "no", "type": "test", "code": None}}).encode())
        words = ["Answer", " to", " ", body["messages"][-1]["content"][:24], "."]
        content = [{"token": word, "logprob": -0.5, "bytes": list(word.encode()),
                    "top_logprobs": [{"token": word, "logprob": -0.5, "bytes": list(word.encode())}]} for word in words]
        self.send(handler, 200, json.dumps({
            "id": "fake-1", "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "".join(words)},
                         "logprobs": {"content": content} if body["logprobs"] else None}],
            "usage": {"prompt_tokens": 7, "completion_tokens": len(words), "total_tokens": 7 + len(words)}}).encode())

    @staticmethod
    def send(handler, status, body):
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        if status == 429:
            handler.send_header("Retry-After", "0")
        handler.end_headers()
        handler.wfile.write(body)


def teacher_config(stubs, endpoint_url, **overrides):
    """How an operator would configure it: the open weights of the embedded model, served by somebody else's program."""
    config = stubs.server_config.TeacherConfig(id="fake", provider="huggingface", channel="CHANNEL_OPEN_WEIGHTS",
                                               model="SmolLM2-135M-Instruct")
    config.openai_chat.base_url = endpoint_url
    config.openai_chat.top_logprobs_max = 20
    config.openai_chat.max_attempts = 2
    config.openai_chat.timeout_seconds = 5
    for name, value in overrides.items():
        setattr(config.openai_chat, name, value)
    return config

"""Peers that break the rules: none gets more than an error, none costs much, and honest callers are served all the while.

    hostile_peer_test.py --bin build/release/bin

Speaks TLS and HTTP/2 frames by hand (RFC 9113, RFC 7541 without compression), since no library would send these.
"""

import argparse
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import grpc

import cluster as e2e

BIN = None
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS = 1, 4
LEDGER, JOBS = "/retort.ledger.v1.LedgerService/", "/retort.jobs.v1.JobsService/"
GROWTH_KIB = 384 << 10  # of the server's memory, over all of this together; 512 threads make the most of it


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A header field that is not indexed, as it is."""
    def text(bytes_):
        length, out = len(bytes_), b""
        if length < 127:
            return bytes([length]) + bytes_
        out, length = b"\x7f", length - 127
        while length >= 128:
            out, length = out + bytes([length % 128 + 128]), length // 128
        return out + bytes([length]) + bytes_
    return b"\x00" + text(name) + text(value)


def call_headers(path, *more):
    fields = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", path.encode()), (b":authority", b"localhost"),
              (b"content-type", b"application/grpc"), (b"te", b"trailers"), *more]
    return b"".join(literal(name, value) for name, value in fields)


def grpc_message(body):
    return b"\0" + struct.pack(">I", len(body)) + body


def frames(got):
    """(kind, stream) of each whole frame."""
    found, at = [], 0
    while at + 9 <= len(got):
        found.append((got[at + 3], int.from_bytes(got[at + 5:at + 9], "big")))
        at += 9 + int.from_bytes(got[at:at + 3], "big")
    return found


class HostilePeers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="retort-hostile-")
        cls.cluster = e2e.Cluster(BIN, cls.folder.name)
        cls.cluster.start_together()
        cls.port, cls.process = cls.cluster.ports["all"], cls.cluster.processes["all"]
        cls.dev = cls.cluster.work / "identity" / "dev"
        channel = e2e.retort_client.connect(f"127.0.0.1:{cls.port}", cls.dev / "client.crt", cls.dev / "client.key", cls.dev / "ca.crt")
        cls.channel = channel
        cls.jobs = cls.cluster.stubs.jobs_grpc.JobsServiceStub(channel)
        cls.ledger = cls.cluster.stubs.ledger_grpc.LedgerServiceStub(channel)
        for job_id in ("one", "two", "three"):  # refused or not: they are there to be listed
            spec = e2e.make_spec(cls.cluster.stubs, ["Name a herb."], teacher="nobody", extract_only=True)
            cls.jobs.CreateJob(cls.cluster.stubs.jobs.CreateJobRequest(parent=e2e.PROJECT, spec=spec, job_id=job_id), timeout=30)
        cls.honest_call(cls)
        cls.before = cls.memory(cls)

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        cls.cluster.__exit__()
        cls.folder.cleanup()

    def tearDown(self):
        self.assertIsNone(self.process.poll(), self.cluster.log_tail("all"))
        self.honest_call()
        self.assertLess(self.memory() - self.before, GROWTH_KIB)

    def memory(self):
        return int(pathlib.Path(f"/proc/{self.process.pid}/status").read_text().split("VmRSS:")[1].split()[0])

    def server_seconds(self):
        """Processor time of the server so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def honest_call(self):
        """Served at once, or, while a flood is on, refused with the code that says "later", and served then."""
        end = time.monotonic() + 10
        while True:
            try:
                return self.jobs.ListJobs(self.cluster.stubs.jobs.ListJobsRequest(parent=e2e.PROJECT), timeout=10)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED or time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def connect(self, folder="own"):
        """With the client's certificate of `folder`; None: with none."""
        context = ssl.create_default_context(cafile=self.dev / "ca.crt")
        context.check_hostname = False
        if folder is not None:
            folder = self.dev if folder == "own" else folder
            context.load_cert_chain(folder / "client.crt", folder / "client.key")
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self.addCleanup(plain.close)
        tls = context.wrap_socket(plain, server_hostname="localhost")
        self.addCleanup(tls.close)
        return tls

    def begin(self, folder="own"):
        peer = self.connect(folder)
        peer.sendall(PREFACE + frame(SETTINGS, 0, 0))
        return peer

    def send(self, peer, data):
        """False when the server has hung up, which is an answer too."""
        try:
            peer.sendall(data)
            return True
        except (OSError, ssl.SSLError):
            return False

    def read_all(self, peer, seconds=15):
        """What comes until the server hangs up or says GOAWAY, or the time is over."""
        got, end = b"", time.monotonic() + seconds
        while time.monotonic() < end:
            peer.settimeout(max(0.01, end - time.monotonic()))
            try:
                piece = peer.recv(65536)
            except (TimeoutError, socket.timeout):
                break
            except OSError:
                return got, True
            if not piece:
                return got, True
            got += piece
            if any(kind == GOAWAY for kind, _ in frames(got)):
                return got, True
        return got, False

    def assert_ended(self, data):
        peer = self.begin()
        self.send(peer, data)
        self.assertTrue(self.read_all(peer)[1], f"the server went on after {data[:40]}")

    # HTTP/2 that is none.

    def test_something_else_than_http2(self):
        for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(4096), b"\0" * 4096, PREFACE[:10] + b"x" * 100):
            peer = self.connect()
            self.send(peer, data)
            self.assertTrue(self.read_all(peer)[1])

    def test_frames_that_cannot_be(self):
        for data in (frame(SETTINGS, 0, 0, b"odd"), frame(PING, 0, 0, b"short"),
                     frame(HEADERS, 0, 1, call_headers(JOBS + "GetJob")) + frame(PING, 0, 0, bytes(8)),  # inside a header block
                     b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(1 << 16)):  # 16 MiB in one frame
            self.assert_ended(data)

    def test_frames_that_mean_nothing_call_nothing(self):
        for data in (frame(DATA, 0, 0, b"on no stream"), frame(DATA, 0, 7, b"on one that was never opened"),
                     frame(HEADERS, END_HEADERS, 2, call_headers(JOBS + "GetJob")),  # even: a server's own
                     frame(99, 255, 1, b"of no kind"), frame(RST_STREAM, 0, 9, bytes(4))):
            peer = self.begin()
            self.send(peer, data)
            got, _ = self.read_all(peer, 1)
            self.assertNotIn(HEADERS, [kind for kind, _ in frames(got)], "something was answered")

    def test_header_block_that_does_not_decode(self):
        self.assert_ended(frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"))

    def test_header_block_without_end(self):
        """The gRPC of Debian 12 keeps what comes until the block ends: docs/threat-model.md says so. Others are served meanwhile."""
        peer = self.begin()
        self.send(peer, frame(HEADERS, 0, 1, call_headers(JOBS + "GetJob")))
        sent = 0
        while sent < 16 << 20 and self.send(peer, frame(CONTINUATION, 0, 1, literal(b"x-more", b"y" * 8000))):
            sent += 8000
        self.honest_call()

    def test_headers_beyond_the_limit_are_refused(self):
        request = self.cluster.stubs.jobs.ListJobsRequest(parent=e2e.PROJECT).SerializeToString()
        self.assertEqual(self.raw(JOBS + "ListJobs", request, ("x-more", "y" * 20000)), grpc.StatusCode.RESOURCE_EXHAUSTED)

    # Floods.

    def test_ping_flood_ends_the_connection(self):
        peer = self.begin()
        for _ in range(200):
            if not self.send(peer, frame(PING, 0, 0, bytes(8)) * 100) or self.read_all(peer, 0.05)[1]:
                return
        self.fail("pings were answered without end")

    def test_settings_and_rapid_reset_floods_leave_room_for_others(self):
        began = self.server_seconds()
        peer = self.begin()
        self.send(peer, frame(SETTINGS, 0, 0) * 20000)
        peer = self.begin()
        for stream in range(1, 20001, 2):
            if not self.send(peer, frame(HEADERS, END_HEADERS, stream, call_headers(JOBS + "ListJobs")) +
                             frame(RST_STREAM, 0, stream, struct.pack(">I", 8))):
                break
        self.honest_call()
        self.assertLess(self.server_seconds() - began, 20)

    def test_connections_that_say_nothing(self):
        idle = [socket.create_connection(("127.0.0.1", self.port), timeout=20) for _ in range(300)]  # not even TLS
        half = [self.connect() for _ in range(50)]  # TLS, and no HTTP/2
        self.honest_call()
        for peer in idle:
            peer.close()
        for peer in half:
            peer.close()

    def test_a_call_that_trickles_does_not_hold_a_handler(self):
        slow = []
        for _ in range(40):  # more than an identity may have open
            peer = self.begin()
            self.send(peer, frame(HEADERS, END_HEADERS, 1, call_headers(JOBS + "ListJobs")) + frame(DATA, 0, 1, b"\0\0\0\x10\0"))
            slow.append(peer)
        for _ in range(5):
            for peer in slow:
                self.send(peer, frame(DATA, 0, 1, b"x"))
            self.honest_call()

    # gRPC that is none.

    def raw(self, path, body, *headers):
        """The code of a call whose message is `body` as it stands, on a connection of its own, which the server may close."""
        credentials = grpc.ssl_channel_credentials(*((self.dev / name).read_bytes() for name in ("ca.crt", "client.key", "client.crt")))
        with grpc.secure_channel(f"127.0.0.1:{self.port}", credentials, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            method = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
            with self.assertRaises(grpc.RpcError) as refused:
                method(body, timeout=20, metadata=headers)
            return refused.exception.code()

    def test_bytes_that_are_no_message(self):
        for body in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x7f", b"\x0b" * 10000, os.urandom(1000)):
            self.assertIn(self.raw(JOBS + "GetJob", body), (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT))

    def test_message_beyond_the_limit(self):
        self.assertEqual(self.raw(JOBS + "GetJob", b"\x0a" + b"\x80\x80\xc0\x02" + bytes(5 << 20)), grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_message_shorter_than_it_says(self):
        peer = self.begin()
        body = b"\0" + struct.pack(">I", 1 << 30) + b"short"
        self.send(peer, frame(HEADERS, END_HEADERS, 1, call_headers(JOBS + "GetJob")) + frame(DATA, END_STREAM, 1, body))
        got, _ = self.read_all(peer, 3)
        answers = [kind for kind, stream in frames(got) if stream == 1]
        self.assertTrue(RST_STREAM in answers or HEADERS in answers, "the call was left open")
        self.assertNotIn(DATA, answers)

    def test_methods_that_are_not_there(self):
        for path in ("/retort.jobs.v1.JobsService/Nothing", "/nothing/at.all", "//", "/../../etc/passwd", "/" + "x" * 8000):
            self.assertEqual(self.raw(path, b""), grpc.StatusCode.UNIMPLEMENTED)

    def test_headers_that_would_forge_others(self):
        for value in (b"a\r\nx-forged: 1", b"a\nb", b"a\0b"):
            peer = self.begin()
            self.send(peer, frame(HEADERS, END_HEADERS, 1, call_headers(JOBS + "GetJob", (b"x-request-id", value))) +
                      frame(DATA, END_STREAM, 1, grpc_message(b"")))
            self.read_all(peer, 1)
        self.assertNotIn("x-forged", self.cluster.log_tail("all", 1 << 20))

    # Names, tokens, certificates.

    def test_names_that_lead_elsewhere(self):
        for name in ("projects/../deployment/jobs/a", "projects/e2e/jobs/../../x", "projects/e2e/jobs/a%2fb", "projects/e2e//jobs/a",
                     "projects/e2e/jobs/" + "a" * 5000, "projects/e2e/jobs/a\0b", "/projects/e2e/jobs/a", "projects/e2e/jobs/A",
                     "projects/*/jobs/one", "projects/e2e/jobs/\u202eone"):
            with self.assertRaises(grpc.RpcError) as refused:
                self.jobs.GetJob(self.cluster.stubs.jobs.GetJobRequest(name=name), timeout=20)
            self.assertIn(refused.exception.code(), (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED), name)

    def test_page_tokens_of_other_listings(self):
        jobs = self.cluster.stubs.jobs
        token = self.jobs.ListJobs(jobs.ListJobsRequest(parent=e2e.PROJECT, page_size=1), timeout=20).next_page_token
        self.assertTrue(token)
        forged = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
        for request in (jobs.ListJobsRequest(parent="projects/other", page_size=1, page_token=token),
                        jobs.ListJobsRequest(parent=e2e.PROJECT, page_size=1, filter='state = "FAILED"', page_token=token),
                        jobs.ListJobsRequest(parent=e2e.PROJECT, page_size=1, page_token=forged),
                        jobs.ListJobsRequest(parent=e2e.PROJECT, page_size=1, page_token="x" * 100000)):
            with self.assertRaises(grpc.RpcError) as refused:
                self.jobs.ListJobs(request, timeout=20)
            self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn(self.cluster.stubs.reason(refused.exception), ("PAGE_TOKEN_INVALID", "INVALID_FIELD"))
        with self.assertRaises(grpc.RpcError) as refused:
            self.ledger.ListEntries(self.cluster.stubs.ledger.ListEntriesRequest(parent=f"{e2e.PROJECT}/ledgers/main", page_token=token),
                                    timeout=20)
        self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)

    def test_certificates_of_nobody_here(self):
        """None, and one of another authority. In TLS 1.3 a client learns of the refusal with its first read."""
        other = pathlib.Path(self.folder.name) / "other"
        subprocess.run([self.cluster.bin / "retortd", "--dev", "--data-dir", other, "--packs-dir",
                        e2e.REPOSITORY / "policy" / "packs", "--print-config"], check=True, capture_output=True, timeout=60)
        for folder in (None, other / "dev"):
            try:
                peer = self.begin(folder)
            except OSError:
                continue  # refused in the handshake
            got, ended = self.read_all(peer, 10)
            self.assertTrue(ended, f"{folder}: still connected")
            self.assertEqual(got, b"", f"{folder}: the server spoke HTTP/2 with a stranger")

    def test_yaml_bomb(self):
        levels = ["a: &a [x, x, x, x, x, x, x, x, x]"] + [
            f"{new}: &{new} [{', '.join(['*' + old] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi")]
        file = pathlib.Path(self.folder.name) / "bomb.yaml"
        file.write_text("\n".join(levels) + "\n")
        done = self.cluster.retort("policy", "check", "--facts", str(file), "--packs", str(e2e.REPOSITORY / "policy" / "packs"), check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("saw an anchor", done.stderr)  # before anything is multiplied


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    known, rest = parser.parse_known_args()
    BIN = os.path.abspath(known.bin)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)

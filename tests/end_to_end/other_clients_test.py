"""The examples of deploy/examples/curl and deploy/examples/cpp against a retortd with mutual TLS: one over the HTTP gateway,
one over gRPC. Each submits a job, follows it and fetches the evidence.

    other_clients_test.py --bin build/release/bin --build build/release/examples
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import cluster

EXAMPLES = cluster.REPOSITORY / "deploy" / "examples"
BIN = BUILD = None
PROJECT = "demo"

JOB = {
    "teacher": "embedded", "prompt_licence": "own", "extract_only": True, "concurrency": 4,
    "purpose": {"kind": "general_llm", "use": "commercial", "name": "other-clients", "base_model": "", "distributed": False,
                "hosted": False, "sold": False, "monthly_active_users": 0, "competition": {"declared_by": "a test"}},
    "prompts": [{"id": f"p{n}", "text": f"Name {n + 2} kinds of bread.", "split": "train"} for n in range(4)],
    "sampling": {"top_p": 1, "seed": 1, "max_tokens": 6, "top_logprobs": 4},
}
REFUSED = dict(JOB, teacher="openai", purpose=dict(
    JOB["purpose"], distributed=True, hosted=True, sold=True,
    competition={"declared_by": "a test", "providers": ["openai"]}))


class OtherClients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        os.environ.pop("OPENAI_API_KEY", None)  # nothing here may ever reach a real endpoint
        cls.folder = tempfile.TemporaryDirectory(prefix="retort-clients-")
        cls.work = pathlib.Path(cls.folder.name)
        cls.cluster = cluster.Cluster(BIN, cls.work)
        cls.address = cls.cluster.start_together(gateway=True)
        cls.gateway = f"127.0.0.1:{cls.cluster.ports['gateway']}"
        cls.dev = cls.work / "identity" / "dev"

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)
        cls.folder.cleanup()

    def job_file(self, name, job):
        path = self.work / name
        path.write_text(json.dumps(job))
        return path

    def curl_example(self, job, out, *more):
        return subprocess.run(
            [EXAMPLES / "curl" / "submit_job.sh", "--server", self.gateway, "--cert", self.dev / "client.crt", "--key",
             self.dev / "client.key", "--ca", self.dev / "ca.crt", "--job", job, "--out", out, *more],
            capture_output=True, text=True, timeout=200)

    def cpp_example(self, job, out):
        return subprocess.run(
            [BUILD / "cpp" / "submit_job", self.address, self.dev / "client.crt", self.dev / "client.key",
             self.dev / "ca.crt", job, out], capture_output=True, text=True, timeout=200)

    def check_evidence(self, done, out):
        """Every byte that the server streams for this size of the tree is in the folder, and nothing else is."""
        said = re.search(r"evidence: (\d+) files of (\d+) entries", done.stdout)
        self.assertTrue(said, done.stdout + done.stderr)
        stubs = self.cluster.stubs
        channel = cluster.retort_client.connect(self.address, self.dev / "client.crt", self.dev / "client.key",
                                                self.dev / "ca.crt")
        self.addCleanup(channel.close)
        ledger = stubs.ledger_grpc.LedgerServiceStub(channel)
        wanted = {}
        for chunk in ledger.ReadEvidence(stubs.ledger.ReadEvidenceRequest(
                name=f"projects/{PROJECT}/ledgers/main", tree_size=int(said[2])), timeout=60):
            wanted[chunk.path] = wanted.get(chunk.path, b"") + chunk.content
        found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        self.assertEqual(sorted(found), sorted(wanted))
        self.assertEqual(int(said[1]), len(wanted))
        for path, content in wanted.items():
            if path != "checkpoint":  # signed anew each time; its first lines are origin, size and root
                self.assertEqual(found[path], content, path)
        self.assertIn(said[2], found["checkpoint"].decode().splitlines()[1])

    def test_curl(self):
        out = self.work / "curl-evidence"
        done = self.curl_example(self.job_file("curl.json", JOB), out, "--job-id", "by-curl")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f"created projects/{PROJECT}/jobs/by-curl", done.stdout)
        self.assertIn("succeeded samples 4/4", done.stdout)
        self.check_evidence(done, out)

    def test_curl_refused_by_policy(self):
        refused = self.curl_example(self.job_file("refused.json", REFUSED), self.work / "none")
        self.assertEqual(refused.returncode, 3, refused.stdout + refused.stderr)
        self.assertIn("POLICY_DENIED", refused.stderr)

    def test_curl_field_that_is_unknown(self):
        wrong = self.curl_example(self.job_file("typo.json", dict(JOB, techer="embedded")), self.work / "none")
        self.assertEqual(wrong.returncode, 1, wrong.stdout + wrong.stderr)
        self.assertIn("techer", wrong.stderr)

    def test_curl_away(self):
        away = self.curl_example(self.job_file("away.json", JOB), self.work / "none", "--server", "127.0.0.1:1")
        self.assertEqual(away.returncode, 7, away.stdout + away.stderr)

    def test_curl_without_a_certificate(self):
        stranger = subprocess.run(
            ["curl", "--silent", "--max-time", "20", "--cacert", self.dev / "ca.crt", "--header",
             "Content-Type: application/json", "--data", "{}",
             f"https://{self.gateway}/retort.jobs.v1.JobsService/ListJobs"], capture_output=True, timeout=30)
        self.assertNotEqual(stranger.returncode, 0)
        self.assertEqual(stranger.stdout, b"")

    def test_cpp(self):
        source, build = EXAMPLES / "cpp", BUILD / "cpp"
        subprocess.run(["cmake", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"],
                       check=True, capture_output=True, timeout=120)
        built = subprocess.run(["cmake", "--build", build, "--parallel", str(os.cpu_count())], capture_output=True, text=True,
                               timeout=500)
        self.assertEqual(built.returncode, 0, built.stdout + built.stderr)
        out = self.work / "cpp-evidence"
        done = self.cpp_example(self.job_file("cpp.json", JOB), out)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("STATE_SUCCEEDED samples 4/4", done.stdout)
        self.check_evidence(done, out)
        refused = self.cpp_example(self.job_file("cpp-refused.json", REFUSED), self.work / "cpp-none")
        self.assertEqual(refused.returncode, 3, refused.stdout + refused.stderr)
        self.assertIn("POLICY_DENIED", refused.stderr)


class DevGateway(unittest.TestCase):
    """The gateway of `retortd --dev`: plain HTTP for this user, at the address that dev/gateway names."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="retort-gateway-")
        self.addCleanup(self.folder.cleanup)
        self.data = pathlib.Path(self.folder.name)
        self.log = open(self.data / "retortd.log", "wb")
        self.addCleanup(self.log.close)
        self.server = subprocess.Popen([f"{BIN}/retortd", "--dev", "--data-dir", self.data, "--listen", "127.0.0.1:0",
                                        "--packs-dir", cluster.REPOSITORY / "policy" / "packs"],
                                       stdout=self.log, stderr=self.log)
        self.addCleanup(self.server.kill)
        cluster.wait_until("retortd serves", 60, (self.data / "dev" / "endpoint").exists)
        self.gateway = (self.data / "dev" / "gateway").read_text().strip()

    def ask(self, *arguments, prefix=()):
        return subprocess.run([*prefix, "curl", "--silent", "--max-time", "20", "--write-out", "\n%{http_code}", *arguments],
                              capture_output=True, text=True, timeout=30)

    def test_serves_this_user_and_nobody_else(self):
        url = f"http://{self.gateway}/retort.jobs.v1.JobsService/ListJobs"
        request = ["--header", "Content-Type: application/json", "--data", '{"parent": "projects/demo"}', url]
        self.assertEqual(self.ask(*request).stdout, "{}\n200")
        self.assertEqual(self.ask("--header", "Host: rebound.example", *request).stdout.splitlines()[-1], "403")
        self.assertEqual(self.ask("--header", "Origin: https://page.example", *request).stdout.splitlines()[-1], "403")
        if os.geteuid() == 0:  # only root can be somebody else
            stranger = self.ask(*request, prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
            self.assertNotEqual(stranger.returncode, 0, stranger.stdout)
            self.assertIn("it is of the user 65534", (self.data / "retortd.log").read_text())
        self.server.terminate()
        self.assertEqual(self.server.wait(timeout=30), 0)
        self.assertFalse((self.data / "dev" / "gateway").exists())

    def test_stops_with_a_stream_that_is_open(self):
        url = f"http://{self.gateway}/retort.jobs.v1.JobsService/"
        prompts = [{"id": f"p{n}", "text": f"Tell a story about {n} loaves.", "split": "train"} for n in range(200)]
        job = {"parent": "projects/demo", "jobId": "long", "spec": dict(JOB, prompts=prompts, sampling=dict(
            JOB["sampling"], max_tokens=200))}
        created = self.ask("--header", "Content-Type: application/json", "--data", json.dumps(job), url + "CreateJob")
        self.assertEqual(created.stdout.splitlines()[-1], "200", created.stdout)
        message = b'{"name":"projects/demo/jobs/long"}'
        body = self.data / "body"
        body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        answer = self.data / "answer"
        watch = subprocess.Popen(["curl", "--silent", "--no-buffer", "--max-time", "60", "--output", answer, "--header",
                                  "Content-Type: application/connect+json", "--data-binary", f"@{body}", url + "WatchJob"])
        cluster.wait_until("the watch has begun", 30, lambda: answer.exists() and answer.stat().st_size > 100)
        self.server.terminate()
        self.assertEqual(self.server.wait(timeout=30), 0)
        self.assertEqual(watch.wait(timeout=10), 0)  # the response was complete
        # Its last message is flagged as the end.
        rest, flags = answer.read_bytes(), None
        while rest:
            flags, size = rest[0], int.from_bytes(rest[1:5], "big")
            rest = rest[5 + size:]
        self.assertEqual(flags, 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--build", required=True, type=pathlib.Path, help="folder that the C++ example is built in")
    known, rest = parser.parse_known_args()
    BIN, BUILD = known.bin, known.build.resolve()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)

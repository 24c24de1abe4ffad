"""Public clients against real servers: the Connect conformance runner, Connect for Node, grpcurl.

    clients_test.py --bin build/release/bin --clients "$(tests/clients/build.sh)" [Conformance | Node | Grpcurl]
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "end_to_end"))
import cluster  # noqa: E402

BIN = CLIENTS = None
EXAMPLE = cluster.REPOSITORY / "deploy" / "examples" / "node"

JOB = {
    "teacher": "embedded", "promptLicence": "own", "extractOnly": True, "concurrency": 4,
    "purpose": {"kind": "general_llm", "use": "commercial", "name": "other-clients", "baseModel": "", "distributed": False,
                "hosted": False, "sold": False, "monthlyActiveUsers": "0", "competition": {"declaredBy": "a test"}},
    "prompts": [{"id": f"p{n}", "text": f"Name {n + 2} kinds of bread.", "split": "train"} for n in range(4)],
    "sampling": {"topP": 1, "seed": "1", "maxTokens": 6, "topLogprobs": 4},
}


class Conformance(unittest.TestCase):
    def test_every_case_but_the_known_ones(self):
        done = subprocess.run(
            [CLIENTS / "connectconformance", "--mode", "server", "--conf", HERE / "features.yaml", "--known-failing",
             f"@{HERE / 'known-failing.txt'}", "--parallel", "4", "--", pathlib.Path(BIN) / "conformance_server"],
            capture_output=True, text=True, timeout=500)
        print(done.stdout[-400:], file=sys.stderr)
        self.assertEqual(done.returncode, 0, done.stdout[-20000:] + done.stderr[-4000:])
        passed = re.search(r"(\d+) passed", done.stdout + done.stderr)
        self.assertTrue(passed and int(passed[1]) > 50, "the runner ran next to nothing:\n" + done.stdout + done.stderr)


class WithServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        os.environ.pop("OPENAI_API_KEY", None)  # nothing here may ever reach a real endpoint
        cls.folder = tempfile.TemporaryDirectory(prefix="retort-clients-")
        cls.work = pathlib.Path(cls.folder.name)
        cls.cluster = cluster.Cluster(BIN, cls.work)
        cls.address = cls.cluster.start_together(gateway=True, reflection=True)
        cls.dev = cls.work / "identity" / "dev"

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)
        cls.folder.cleanup()


class Node(WithServer):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Beside the clients: npm writes into the folder that it works in.
        cls.example = pathlib.Path(CLIENTS) / "node"
        shutil.copytree(EXAMPLE, cls.example, dirs_exist_ok=True, ignore=shutil.ignore_patterns("gen", "node_modules"))
        npm = ["npm", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run([*npm, "ci"], cwd=cls.example, check=True, timeout=200)
        package = json.loads((cls.example / "package.json").read_text())
        generate = package["scripts"]["generate"].replace("../../../proto", str(cluster.REPOSITORY / "proto"))
        subprocess.run(["sh", "-c", generate], cwd=cls.example, check=True, timeout=60)

    def run_example(self, *arguments):
        return subprocess.run(["node", self.example / "submit_job.js", *arguments], capture_output=True, text=True, timeout=200)

    def job_file(self, job):
        path = self.work / f"{self.id()}.json"
        path.write_text(json.dumps(job))
        return path

    def over_tls(self, *arguments):
        return self.run_example("--server", f"127.0.0.1:{self.cluster.ports['gateway']}", "--cert", self.dev / "client.crt",
                                "--key", self.dev / "client.key", "--ca", self.dev / "ca.crt", *arguments)

    def test_job_to_its_evidence(self):
        out = self.work / "node-evidence"
        done = self.over_tls("--job", self.job_file(JOB), "--out", out, "--job-id", "by-node")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("created projects/demo/jobs/by-node", done.stdout)
        self.assertIn("succeeded samples 4/4", done.stdout)
        said = re.search(r"evidence: (\d+) files of (\d+) entries", done.stdout)
        self.assertTrue(said, done.stdout)
        self.assertEqual(len([path for path in out.rglob("*") if path.is_file()]), int(said[1]))
        self.assertIn(said[2], (out / "checkpoint").read_text().splitlines()[1])

    def test_refused_by_policy(self):
        purpose = dict(JOB["purpose"], distributed=True, hosted=True, sold=True,
                       competition={"declaredBy": "a test", "providers": ["openai"]})
        refused = self.over_tls("--job", self.job_file(dict(JOB, teacher="openai", purpose=purpose)), "--out",
                                self.work / "refused")
        self.assertEqual(refused.returncode, 3, refused.stdout + refused.stderr)
        self.assertIn("POLICY_DENIED", refused.stderr)

    def test_away(self):
        away = self.run_example("--server", "127.0.0.1:1", "--cert", self.dev / "client.crt", "--key", self.dev / "client.key",
                                "--ca", self.dev / "ca.crt", "--job", self.job_file(JOB), "--out", self.work / "away")
        self.assertEqual(away.returncode, 7, away.stdout + away.stderr)


class Grpcurl(WithServer):
    def grpcurl(self, *arguments):
        return subprocess.run(
            [pathlib.Path(CLIENTS) / "grpcurl", "-cacert", self.dev / "ca.crt", "-cert", self.dev / "client.crt", "-key",
             self.dev / "client.key", "-max-time", "20", *arguments], capture_output=True, text=True, timeout=60)

    def test_lists_and_calls_every_method(self):
        listed = self.grpcurl(self.address, "list")
        self.assertEqual(listed.returncode, 0, listed.stderr)
        services = [name for name in listed.stdout.split() if not name.startswith("grpc.")]
        self.assertIn("retort.jobs.v1.JobsService", services)
        self.assertIn("google.longrunning.Operations", services)
        called = 0
        for service in services:
            methods = self.grpcurl(self.address, "list", service)
            self.assertEqual(methods.returncode, 0, methods.stderr)
            for method in methods.stdout.split():
                # An empty request names no project: the guard lets nobody further, and says so, whatever the method.
                done = self.grpcurl("-d", "{}", self.address, method)
                code = re.search(r"Code: (\w+)", done.stderr)
                self.assertTrue(code, f"{method}: {done.stdout}{done.stderr}")
                self.assertIn(code[1], ("InvalidArgument", "PermissionDenied"), method)
                called += 1
        self.assertGreater(called, 40)

    def test_reads_what_is_there(self):
        done = self.grpcurl("-d", '{"parent": "projects/demo"}', self.address, "retort.teacher.v1.TeacherService/ListTeachers")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("projects/demo/teachers/embedded", [teacher["name"] for teacher in json.loads(done.stdout)["teachers"]])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    parser.add_argument("--clients", required=True, type=pathlib.Path, help="what tests/clients/build.sh prints")
    known, rest = parser.parse_known_args()
    BIN, CLIENTS = known.bin.resolve(), known.clients
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)

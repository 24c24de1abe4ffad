"""The client of deploy/examples/python against `retortd --dev`: a program that is not C++ submits and follows a job.

    python_client_test.py --bin build/release/bin
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLIENT = ROOT / "deploy" / "examples" / "python" / "submit_job.py"
BIN = None


class PythonClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="retort-python-")
        cls.data = pathlib.Path(cls.folder.name)
        cls.log = open(cls.data / "retortd.log", "wb")
        environment = dict(os.environ)
        environment.pop("OPENAI_API_KEY", None)  # nothing here may ever reach a real endpoint
        cls.server = subprocess.Popen([f"{BIN}/retortd", "--dev", "--data-dir", str(cls.data), "--listen", "127.0.0.1:0",
                                       "--packs-dir", str(ROOT / "policy" / "packs")],
                                      stdout=cls.log, stderr=cls.log, env=environment)
        end = time.monotonic() + 60
        while not (cls.data / "dev" / "endpoint").exists():
            assert cls.server.poll() is None and time.monotonic() < end, (cls.data / "retortd.log").read_text()
            time.sleep(0.05)

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        cls.server.wait(timeout=30)
        cls.log.close()
        cls.folder.cleanup()

    def run_client(self, *arguments):
        return subprocess.run([sys.executable, str(CLIENT), "--dev-dir", str(self.data / "dev"), *arguments],
                              capture_output=True, text=True, timeout=200)

    def write(self, name, text):
        path = self.data / name
        path.write_text(text)
        return str(path)

    def test_job_to_its_end(self):
        prompts = self.write("prompts.txt", "".join(f"Name {n} kinds of bread.\n" for n in range(8)))
        done = self.run_client("--job-id", "bread", "--prompts", prompts, "--shape", "unit", "--steps", "6", "--max-tokens", "8")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("created projects/demo/jobs/bread", done.stdout)
        self.assertIn("samples 8/8", done.stdout)
        self.assertIn("steps 6/6", done.stdout)
        self.assertIn("done: projects/demo/jobs/bread, student projects/demo/students/python-example", done.stdout)

    def test_refused_by_policy(self):
        job = self.write("refused.json", """{
          "teacher": "openai", "prompt_licence": "own", "extract_only": true,
          "purpose": {"kind": "general_llm", "distributed": true, "hosted": true, "sold": true, "use": "commercial",
                      "competition": {"declared_by": "a test", "providers": ["openai"]}, "name": "rival", "base_model": ""},
          "prompts": [{"id": "p0", "text": "Hello"}], "sampling": {"top_p": 1, "max_tokens": 4}}""")
        refused = self.run_client("--job", job)
        self.assertEqual(refused.returncode, 3, refused.stdout + refused.stderr)
        self.assertIn("POLICY_DENIED", refused.stderr)

    def test_field_that_is_wrong(self):
        prompts = self.write("one.txt", "Hello\n")
        wrong = self.run_client("--prompts", prompts, "--teacher", "NOT AN ID", "--extract-only")
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("INVALID_FIELD", wrong.stderr)

    def test_unknown_name_in_the_job(self):
        wrong = self.run_client("--job", self.write("typo.json", '{"techer": "embedded"}'))
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("techer", wrong.stderr)

    def test_server_that_is_away(self):
        dev = self.data / "dev"
        away = self.run_client("--server", "127.0.0.1:1", "--certificate", str(dev / "client.crt"), "--private-key",
                               str(dev / "client.key"), "--authorities", str(dev / "ca.crt"),
                               "--prompts", self.write("two.txt", "Hello\n"))
        self.assertEqual(away.returncode, 7, away.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    known, rest = parser.parse_known_args()
    BIN = known.bin
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)

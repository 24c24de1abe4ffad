"""What a person types on the first day: a job, its student, a proof, a second job, a mistake, Ctrl-C.

    user_session_test.py --bin build/release/bin
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

import cluster as e2e
from fake_teacher import FakeTeacher, teacher_config

BIN = None

JOB = """teacher: {teacher}
purpose:
  kind: general_llm
  distributed: false
  hosted: false
  sold: false
  competition: {{ declared_by: an end-to-end test, providers: [] }}
  monthly_active_users: 0
  name: {student}
  base_model: ""
  use: commercial
prompt_licence: own
prompts:
  - {{ id: herb, text: Name a herb., split: train }}
  - {{ id: root, text: Name a root., split: train }}
  - {{ id: fruit, text: Name a fruit., split: held_out }}
sampling: {{ temperature: 0, top_p: 1, seed: 1, max_tokens: 8, top_logprobs: 8 }}
{rest}"""

STUDENT = """student: {{ name: {student}, shape: unit }}
training: {{ steps: 4, batch_tokens: 64, sequence_length: 64, learning_rate: 0.002, warmup_steps: 1, cross_entropy_weight: 0.2, seed: 5 }}
"""


class UserSession(unittest.TestCase):
    """One server with all roles; a job to its end in setUpClass, which the tests look at."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="retort-session-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.work = pathlib.Path(cls.folder.name)
        cls.fake = FakeTeacher()
        cls.addClassCleanup(cls.fake.close)
        stubs = e2e.retort_client.Stubs()
        key = cls.work / "api.key"
        key.write_text("sk-not-a-real-key\n")
        key.chmod(0o600)
        cls.cluster = e2e.Cluster(BIN, cls.work, [
            teacher_config(stubs, cls.fake.url, api_key_file=str(key), timeout_seconds=30, max_attempts=1)], stubs)
        cls.addClassCleanup(cls.cluster.__exit__)
        dev = cls.work / "identity" / "dev"
        cls.flags = ["--server", cls.cluster.start_together(), "--tls-ca", str(dev / "ca.crt"), "--tls-cert",
                     str(dev / "client.crt"), "--tls-key", str(dev / "client.key"), "--project", "e2e"]
        cls.job_file = cls.write_job("job.yaml", "embedded", "herbs", STUDENT)
        cls.first = cls.run_retort("job", "create", "--file", cls.job_file, "--id", "first", "--watch")
        assert cls.first.returncode == 0, cls.first.stderr + cls.cluster.log_tail("all")

    @classmethod
    def write_job(cls, name, teacher, student, rest):
        path = cls.work / name
        path.write_text(JOB.format(teacher=teacher, student=student, rest=rest.format(student=student)))
        return str(path)

    @classmethod
    def run_retort(cls, *arguments, flags=None):
        return subprocess.run([f"{BIN}/retort", *(cls.flags if flags is None else flags), *map(str, arguments)],
                              capture_output=True, text=True, timeout=200, cwd=cls.work)

    def retort(self, *arguments, code=0, flags=None):
        """Standard output and standard error of a command that must exit with `code`."""
        done = self.run_retort(*arguments, flags=flags)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout, done.stderr

    # The way through.

    def test_job_says_what_became_of_it(self):
        self.assertIn("projects/e2e/students/herbs", self.first.stdout)
        self.assertIn("released", self.first.stderr)
        out, _ = self.retort("job", "get", "first")
        self.assertIn("succeeded", out)
        self.assertIn("3 of 3: 3 allowed", out)
        self.assertIn("projects/e2e/jobs/first", self.retort("job", "list")[0])

    def test_the_same_file_again_says_what_to_do(self):
        _, err = self.retort("job", "create", "--file", self.job_file, code=6)
        self.assertIn("projects/e2e/students/herbs belongs to projects/e2e/jobs/first", err)
        self.assertIn("--student NAME", err)
        out, _ = self.retort("job", "create", "--file", self.job_file, "--student", "herbs-2", "--id", "second", "--watch")
        self.assertIn("projects/e2e/students/herbs-2", out)
        listed = json.loads(self.retort("student", "list", "-o", "json")[0])
        names = [item["statement"]["student"] for item in listed["items"]]
        self.assertEqual(sorted(name for name in names if "herbs" in name),
                         ["projects/e2e/students/herbs", "projects/e2e/students/herbs-2"])

    def test_doctor_finds_a_client_well_and_says_what_is_not(self):
        self.assertRegex(self.retort("doctor")[0], r"server +good +.* answers and is ready")
        found = json.loads(self.retort("doctor", "-o", "json", code=1, flags=["--server", "127.0.0.1:1", *self.flags[2:]])[0])["items"]
        self.assertEqual([one["name"] for one in found if one["state"] == "bad"], ["server"])

    def test_student_by_name_and_by_folder(self):
        self.assertIn("projects/e2e/students/herbs", self.retort("student", "list")[0])
        out, err = self.retort("student", "get", "herbs")
        self.assertIn("projects/e2e/jobs/first", out)
        self.assertIn("student download herbs --out", err)
        _, err = self.retort("student", "get", "parsley", code=5)
        self.assertIn("projects/e2e/students/parsley", err)
        self.assertIn("retort student list", err)

        folder = self.work / "by-name"
        self.retort("student", "download", "herbs", "--out", folder.name)  # relative, as people type it
        self.assertTrue((folder / "model.safetensors").exists())
        _, err = self.retort("student", "download", "herbs", "--out", folder.name, code=6)
        self.assertIn("is there already", err)
        self.assertIn("vocabulary  49152", self.retort("student", "get", folder)[0])
        prompts = self.work / "held.yaml"
        prompts.write_text("prompts:\n  - { id: fruit, text: Name a fruit., split: held_out }\n")
        measured = json.loads(self.retort("student", "eval", folder, "--prompts", prompts, "--max-tokens", 8, "-o", "json")[0])
        self.assertGreater(measured["tokens"], 0)
        self.assertGreater(measured["kl"], 0)
        chat = ["chat", folder, "--once", "Name a herb.", "--max-tokens", 4, "--seed", 3]
        answer = self.retort(*chat)[0]
        self.assertTrue(answer.strip())
        self.assertEqual(self.retort(*chat)[0], answer)  # the same seed, the same answer

    def test_cost_is_added_up_from_the_ledger(self):
        out, _ = self.retort("cost", "first")
        self.assertIn("projects/e2e/jobs/first", out)
        self.assertIn("finished", out)
        self.assertRegex(out, r"Teacher: \d+ answers in the ledger")
        cost = json.loads(self.retort("cost", "first", "-o", "json")[0])
        self.assertEqual(cost["job"], "projects/e2e/jobs/first")
        self.assertGreater(cost["teacher"]["completion_tokens"], 0)
        self.retort("cost", "nothing", code=5)

    def test_what_happened_can_be_read_later(self):
        out, _ = self.retort("job", "logs", "first")
        self.assertIn("accepted", out)
        self.assertIn("released", out)
        lines = [json.loads(line) for line in self.retort("job", "logs", "first", "--tail", 2, "-o", "jsonl")[0].splitlines()]
        self.assertEqual(len(lines), 2)
        self.assertEqual(lines[-1]["text"], "released")

    def test_plan_before_anything_is_spent(self):
        out, err = self.retort("job", "create", "--file", self.job_file, "--student", "herbs-3", "--validate-only")
        self.assertIn("allow the job", out)
        self.assertIn("calls of the teacher", out)
        self.assertIn("nothing was created or sent", err)
        self.assertNotIn("herbs-3", self.retort("student", "list")[0])

    def test_lists_filter_order_and_take_every_form(self):
        self.assertIn("jobs/first", self.retort("job", "list", "--filter", "state = SUCCEEDED", "-o", "wide")[0])
        names = self.retort("job", "list", "--filter", 'name = "*/first"', "-o", "name")[0].split()
        self.assertEqual(names, ["projects/e2e/jobs/first"])
        self.assertIn('"state": "STATE_SUCCEEDED"', self.retort("job", "get", "first", "-o", "yaml")[0])
        _, err = self.retort("job", "list", "--filter", "colour = red", code=2)
        self.assertIn("at byte 1", err)
        samples = self.retort("sample", "list", "first", "--filter", "standing = ADMITTED", "-o", "jsonl")[0].splitlines()
        self.assertGreater(len(samples), 0)
        # Who submitted the job does not review its samples.
        _, err = self.retort("sample", "approve", json.loads(samples[0])["name"], "--reason", "looks fine", code=4)
        self.assertIn("SEPARATION_OF_DUTIES", err)

    def test_server_checks_its_own_log(self):
        self.assertIn("VERIFIED", self.retort("ledger", "audit")[0])
        self.assertIn("VerifyLedger", self.retort("operation", "list")[0])

    def test_proof_verifies_without_the_server(self):
        key = json.loads(self.retort("ledger", "checkpoint", "-o", "json")[0])["vkey"]
        self.retort("ledger", "proof", "1", "--out", "one")
        offline = ["ledger", "verify", "--proof", "one.tlog-proof", "--leaf", "one.leaf", "--key", key]
        self.assertTrue(self.retort(*offline, flags=[])[0].startswith("VERIFIED"))
        leaf = self.work / "one.leaf"
        bytes_of_leaf = bytearray(leaf.read_bytes())
        bytes_of_leaf[40] ^= 1
        (self.work / "other.leaf").write_bytes(bytes_of_leaf)
        offline[offline.index("one.leaf")] = "other.leaf"
        self.assertTrue(self.retort(*offline, flags=[], code=3)[0].startswith("FAILED"))
        self.assertTrue(self.retort("ledger", "verify", "--key", key)[0].startswith("VERIFIED"))
        _, err = self.retort("ledger", "proof", "100000", code=5)
        self.assertIn("100000", err)

    def test_answer_is_recorded(self):
        out, err = self.retort("teacher", "ask", "Name a herb.", "--max-tokens", 8, "--system", "You are brief.", "--seed", 2)
        self.assertTrue(out.strip())
        self.assertRegex(err, r"entry \d+ of the ledger; training on it: allow")

    # Second thoughts.

    def test_cancel_and_resume(self):
        self.fake.allow(1)  # one answer, then it waits
        try:
            job = self.write_job("slow.yaml", "fake", "slow", "extract_only: true\n")
            out, err = self.retort("job", "create", "--file", job, "--id", "slow")
            self.assertIn("job watch projects/e2e/jobs/slow", err)
            out, _ = self.retort("job", "cancel", "slow")
            self.assertRegex(out, "cancelling|cancelled")  # calls in flight are waited for
        finally:
            self.fake.allow(None)
        self.retort("job", "watch", "slow", code=1)
        self.assertIn("cancelled", self.retort("job", "get", "slow")[0])
        _, err = self.retort("job", "cancel", "slow", code=6)
        self.assertIn("has not ended", err)
        self.retort("job", "resume", "slow", code=6)  # what a person stopped is tried again only when asked to

    def test_resume_after_the_teacher_is_well_again(self):
        self.fake.mode = "401"
        job = self.write_job("ill.yaml", "fake", "ill", "extract_only: true\n")
        out, err = self.retort("job", "create", "--file", job, "--id", "ill", "--watch", code=4)
        self.assertIn("TEACHER_UNAUTHORISED", out + err)
        self.fake.mode = "good"
        out, _ = self.retort("job", "resume", "ill", "--watch")
        self.assertIn("succeeded", out)

    def test_interrupt_detaches_and_says_how_to_come_back(self):
        self.fake.allow(0)
        try:
            job = self.write_job("long.yaml", "fake", "long", "extract_only: true\n")
            watching = subprocess.Popen([f"{BIN}/retort", *self.flags, "job", "create", "--file", job, "--id", "long", "--watch"],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.work)
            patience = threading.Timer(60, watching.kill)
            patience.start()
            first = watching.stderr.readline()
            self.assertIn("created projects/e2e/jobs/long", first)
            watching.send_signal(signal.SIGINT)
            out, err = watching.communicate()
            patience.cancel()
            self.assertEqual(watching.returncode, 130, out + err)
            self.assertIn("the job goes on", err)
            self.assertIn("job watch projects/e2e/jobs/long", err)
        finally:
            self.fake.allow(None)
        self.retort("job", "watch", "long")

    # Mistakes.

    def test_mistakes_are_named(self):
        for arguments, code, text in [
                (("job", "get", "nothing"), 5, "projects/e2e/jobs/nothing"),
                (("job", "cancel", "No!"), 2, "projects/e2e/jobs/No!"),
                (("job", "create", "--file", "nowhere.yaml"), 5, "nowhere.yaml"),
                (("job", "create", "--file", self.job_file, "--student", "not/a/name"), 2, "spec.student.name"),
                (("student", "download", "nobody", "--out", "nobody"), 5, "projects/e2e/students/nobody"),
                (("student", "get", "/nowhere/student"), 5, "/nowhere/student"),
                (("student", "eval", "/nowhere/student", "--prompts", self.job_file), 2, "job.yaml"),
                (("chat", "/nowhere/student", "--once", "Hello"), 5, "/nowhere/student"),
                (("chat",), 2, "--teacher"),
                (("teacher", "ask", "Hello", "--teacher", "nobody"), 5, "no teacher nobody"),
                (("teacher", "ask", "Hello", "--temperature", "9"), 2, "--temperature")]:
            with self.subTest(command=" ".join(map(str, arguments))):
                _, err = self.retort(*arguments, code=code)
                self.assertIn(text, err)
        self.assertFalse((self.work / "nobody").exists())

    def test_server_that_is_away(self):
        away = [f"127.0.0.1:{e2e.free_port()}" if flag == self.flags[1] else flag for flag in self.flags]
        _, err = self.retort("--timeout", "5", "job", "list", code=7, flags=away)
        self.assertIn("Is the server running?", err)
        _, err = self.retort("job", "list", code=6, flags=["--dev-dir", str(self.work / "nobody-here")])
        self.assertIn("retortd --dev", err)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    known, rest = parser.parse_known_args()
    BIN = os.path.abspath(known.bin)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)

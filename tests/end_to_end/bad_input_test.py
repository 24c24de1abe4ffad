"""What operators and endpoints get wrong: each gives a clear error, keeps the state, and lets the job go on once it is mended.

    bad_input_test.py --bin build/release/bin
"""

import argparse
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import unittest

import cluster as e2e
from fake_teacher import FakeTeacher, teacher_config

BIN = None


class TeacherFailures(unittest.TestCase):
    """One cluster; the endpoint of its teacher misbehaves in turn."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="retort-bad-input-")
        cls.stubs = e2e.retort_client.Stubs()
        cls.fake = FakeTeacher()
        key = pathlib.Path(cls.folder.name) / "api.key"
        key.write_text("sk-not-a-real-key\n")
        key.chmod(0o600)
        cls.cluster = e2e.Cluster(BIN, cls.folder.name, [
            teacher_config(cls.stubs, cls.fake.url, api_key_file=str(key), timeout_seconds=1, max_attempts=1)], cls.stubs)
        jobs = cls.cluster.role_config("jobs")
        jobs.teacher_outage_seconds = 0  # these tests want to see what a job says when it has given up
        cls.cluster._write_config("jobs", jobs)
        cls.cluster.start_all()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__()
        cls.fake.close()
        cls.folder.cleanup()

    def fail_then_mend(self, mode, reason):
        """The job fails with `reason`; ResumeJob after the endpoint is well again carries it to its end."""
        self.fake.mode = mode
        spec = e2e.make_spec(self.stubs, ["Name a herb.", "Name a root."], teacher="fake", extract_only=True)
        job = self.cluster.create_job(spec, f"mode-{mode}")
        job = self.cluster.await_state(job.name, {"FAILED"}, 60)
        self.assertEqual(job.state_reason, reason)
        self.assertIn("fake", job.state_message)  # names the teacher
        self.assertNotIn("sk-not", job.state_message)
        self.assertNotIn("herb", job.state_message)
        self.fake.mode = "good"
        self.cluster.jobs.ResumeJob(self.stubs.jobs.ResumeJobRequest(name=job.name), timeout=30)
        job = self.cluster.await_state(job.name, {"SUCCEEDED"}, 60)
        self.assertEqual(job.progress.samples_done, 2)

    def test_refused_key(self):
        self.fail_then_mend("401", "TEACHER_UNAUTHORISED")

    def test_no_money(self):
        self.fail_then_mend("402", "TEACHER_RATE_LIMITED")

    def test_rate_limit(self):
        self.fail_then_mend("429", "TEACHER_RATE_LIMITED")

    def test_server_error(self):
        self.fail_then_mend("500", "TEACHER_UNAVAILABLE")

    def test_broken_json(self):
        self.fail_then_mend("broken", "TEACHER_BROKEN_ANSWER")

    def test_connection_closed_halfway(self):
        self.fail_then_mend("drop", "TEACHER_UNAVAILABLE")

    def test_timeout(self):
        self.fail_then_mend("hang", "TEACHER_TIMEOUT")

    def test_key_that_is_missing(self):
        config = self.cluster.role_config("teacher")
        config.teachers.add().CopyFrom(teacher_config(self.stubs, self.fake.url, api_key_env="RETORT_E2E_UNSET"))
        config.teachers[-1].id = "keyless"
        self.cluster.kill("teacher")
        self.cluster.start("teacher", config)
        self.cluster.await_serving("teacher")
        listed = self.cluster.teacher.ListTeachers(
            self.stubs.teacher.ListTeachersRequest(parent=e2e.PROJECT), timeout=30, wait_for_ready=True).teachers
        keyless = next(teacher for teacher in listed if teacher.name.endswith("/keyless"))
        self.assertEqual(keyless.unavailable_reason, "environment variable RETORT_E2E_UNSET is not set")
        spec = e2e.make_spec(self.stubs, ["Name a herb."], teacher="keyless", extract_only=True)
        job = self.cluster.await_state(self.cluster.create_job(spec, "keyless").name, {"FAILED"}, 60)
        self.assertEqual(job.state_reason, "TEACHER_NOT_READY")
        self.assertIn("RETORT_E2E_UNSET", job.state_message)


class Operators(unittest.TestCase):
    """retortd must say what is wrong and end; it must not serve half of itself."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="retort-operator-")
        self.addCleanup(self.folder.cleanup)
        self.cluster = e2e.Cluster(BIN, self.folder.name)
        self.addCleanup(self.cluster.__exit__)

    def refused(self, role, config=None):
        """Standard error of a retortd that ends by itself."""
        log = self.cluster.work / f"{role}.log"
        process = self.cluster.launch(role, config)
        try:
            code = process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.fail(f"{role} serves although it should not:\n{log.read_text()}")
        text = log.read_text()
        self.assertIn(code, (1, 2), text)  # an error, not a crash
        return text

    def test_busy_port(self):
        with socket.socket() as busy:
            busy.bind(("127.0.0.1", self.cluster.ports["policy"]))
            busy.listen()
            text = self.refused("policy")
        self.assertIn(str(self.cluster.ports["policy"]), text)

    def test_missing_key_file(self):
        os.remove(self.cluster.base.keys.policy)
        self.assertIn(self.cluster.base.keys.policy, self.refused("policy"))

    def test_key_file_that_others_can_read(self):
        os.chmod(self.cluster.base.keys.teacher, 0o644)
        self.assertIn(self.cluster.base.keys.teacher, self.refused("teacher"))

    def test_key_file_that_is_no_key(self):
        path = pathlib.Path(self.cluster.base.keys.log)
        path.write_text("not a key\n")
        text = self.refused("ledger")
        self.assertIn("ledger", text)
        self.assertNotIn("not a key", text)

    def test_vault_key_of_the_wrong_length(self):
        pathlib.Path(self.cluster.base.keys.vault).write_text("00ff\n")
        self.assertIn("vault", self.refused("ledger"))

    def test_unknown_key_in_the_configuration(self):
        path = self.cluster.configs["ledger"]
        path.write_text(path.read_text().replace('"deployment"', '"deplyoment"'))
        text = self.refused("ledger")
        self.assertIn("ledger.yaml", text)
        self.assertIn("deplyoment", text)

    def test_certificate_that_is_missing(self):
        os.remove(self.cluster.base.tls.certificate)
        self.assertIn(self.cluster.base.tls.certificate, self.refused("policy"))

    def test_two_ledgers_on_one_folder(self):
        self.cluster.start_all()
        self.cluster.create_job(e2e.make_spec(self.cluster.stubs, ["Name a herb."], teacher="embedded", extract_only=True), "one")
        e2e.wait_until("the log exists", 30, lambda: self.cluster.entries())
        config = self.cluster.role_config("ledger")
        config.listen = f"127.0.0.1:{e2e.free_port()}"
        process = self.cluster.launch("ledger", config)
        try:
            self.assertIn(process.wait(timeout=30), (1, 2))
        finally:
            process.kill()
            process.wait()
        self.assertTrue(self.cluster.entries())  # the first one still serves


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    known, rest = parser.parse_known_args()
    BIN = known.bin
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)

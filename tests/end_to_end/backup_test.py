"""A backup beside running servers, with the arguments of the CronJob that a cluster runs, and what comes back from it.

    backup_test.py --bin build/release/bin
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import unittest

import yaml

import cluster as e2e
from fake_teacher import FakeTeacher, teacher_config

BIN = None
MANIFESTS = e2e.REPOSITORY / "deploy" / "kustomize" / "base" / "backup.yaml"


class Backup(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="retort-backup-")
        self.addCleanup(folder.cleanup)
        self.work = pathlib.Path(folder.name)
        self.fake = FakeTeacher()
        self.addCleanup(self.fake.close)
        stubs = e2e.retort_client.Stubs()
        self.cluster = e2e.Cluster(BIN, self.work, [teacher_config(stubs, self.fake.url)], stubs)
        self.addCleanup(self.cluster.__exit__)
        self.cluster.start_all()
        keys = self.work / "public-keys"
        keys.mkdir()
        shown = self.cluster.retort("key", "show", self.cluster.base.keys.log)
        (keys / "log.vkey").write_text(shown.stdout)

    def run_job(self, cron_job):
        """The command of a CronJob's container, with what the pod mounts where this test has it."""
        spec = next(one["spec"] for one in yaml.safe_load_all(MANIFESTS.read_text())
                    if one["kind"] == "CronJob" and one["metadata"]["name"] == cron_job)
        container = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
        self.assertEqual(container["command"], ["retortd"])
        mounts = {"/var/lib/retort": self.work / "data", "/backup": self.work / "backup", "/etc/retort/public-keys": self.work / "public-keys"}
        arguments = []
        for argument in container["args"]:
            for path, here in mounts.items():
                argument = argument.replace(path, str(here))
            arguments.append(argument)
        return subprocess.run([BIN / "retortd", *arguments], capture_output=True, text=True, timeout=120)

    def extract(self, job_id, prompts):
        spec = e2e.make_spec(self.cluster.stubs, [f"{job_id} {n}" for n in range(prompts)], teacher="fake", extract_only=True)
        self.cluster.await_state(self.cluster.create_job(spec, job_id).name, {"SUCCEEDED"}, 60)
        return self.cluster.entries()

    def test_what_is_lost_comes_back_and_goes_on(self):
        before = self.extract("monday", 12)
        done = self.run_job("retort-backup")  # every role runs, and the ledger holds its logs open
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{len(before)} entries", done.stdout)
        self.assertEqual(len(list((self.work / "backup").iterdir())), 1)

        refused = self.run_job("retort-restore")  # under a ledger that runs
        self.assertEqual(refused.returncode, 1)
        self.assertIn("stop the ledger first", refused.stderr)

        self.cluster.kill("ledger")
        for table in (self.work / "data" / "ledger").rglob("*.log"):
            table.write_bytes(b"")  # the disk has lost what was written last
        restored = self.run_job("retort-restore")
        self.assertEqual(restored.returncode, 0, restored.stderr)
        self.assertIn("set aside", restored.stdout)
        self.cluster.start("ledger")
        self.cluster.await_serving("ledger")
        after = self.cluster.entries()
        self.assertEqual([entry.leaf for entry in after], [entry.leaf for entry in before])
        # And the log grows on from there, under the same key.
        longer = self.extract("tuesday", 4)
        self.assertGreater(len(longer), len(before))
        self.assertEqual([entry.leaf for entry in longer[:len(before)]], [entry.leaf for entry in before])

    def test_says_what_is_wrong(self):
        self.assertEqual(self.run_job("retort-backup").returncode, 1)  # no log yet
        self.extract("monday", 2)
        (self.work / "public-keys" / "log.vkey").write_text("nonsense\n")
        done = self.run_job("retort-backup")
        self.assertEqual(done.returncode, 1)
        self.assertIn("log.vkey: not a public key", done.stderr)
        usage = subprocess.run([BIN / "retortd", "backup", "--ledger", "x"], capture_output=True, text=True, timeout=60)
        self.assertEqual(usage.returncode, 2)


def main():
    global BIN
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    arguments, rest = parser.parse_known_args()
    BIN = arguments.bin.resolve()
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()

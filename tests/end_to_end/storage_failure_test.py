"""A disk that is full, and bytes on it that have changed: nothing acknowledged is lost, and nothing wrong is served.

    storage_failure_test.py --bin build/release/bin

The full disk is a small tmpfs in a mount namespace of this test (`unshare --map-root-user --mount`), so the test starts itself
again in one. Where the kernel does not allow that, those tests are skipped and say so; the library's tests of the same failures
(tests/ledger, through its storage seam) need no such thing.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import cluster as e2e
from fake_teacher import FakeTeacher, teacher_config

BIN = None
INSIDE = "RETORT_TEST_NAMESPACE"
DISK_BYTES = 64 << 20


def enter_namespace():
    """Starts this program again where it may mount; returns when that is not allowed."""
    unshare = ["unshare", "--map-root-user", "--mount"]
    if os.environ.get(INSIDE) or subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        return
    os.environ[INSIDE] = "1"
    os.execvp("unshare", [*unshare, sys.executable, "-B", *sys.argv])


class Storage(unittest.TestCase):
    """A cluster whose teacher is an endpoint of this test that counts what it is asked."""

    def start(self, small_disk=None):
        """`small_disk` names the folder below the server's data that lies on a disk of its own: "." or "ledger"."""
        folder = tempfile.TemporaryDirectory(prefix="retort-storage-")
        self.addCleanup(folder.cleanup)
        self.work = pathlib.Path(folder.name)
        self.data = self.work / "data"
        if small_disk is not None:
            self.disk = self.data / small_disk
            self.disk.mkdir(mode=0o700, parents=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", self.disk], check=True)
            self.addCleanup(subprocess.run, ["umount", "-l", self.disk], check=True)
        self.fake = FakeTeacher()
        self.addCleanup(self.fake.close)
        self.stubs = e2e.retort_client.Stubs()
        self.cluster = e2e.Cluster(BIN, self.work, [teacher_config(self.stubs, self.fake.url)], self.stubs)
        self.addCleanup(self.cluster.__exit__)
        self.cluster.start_all()

    def create(self, job_id, prompts, words=4):
        spec = e2e.make_spec(self.stubs, [f"{n} " + "word " * words for n in range(prompts)], teacher="fake", extract_only=True)
        return self.cluster.create_job(spec, job_id)

    def check_nothing_lost(self, before):
        """The log begins with what it showed before, byte for byte."""
        now = self.cluster.entries()
        self.assertGreaterEqual(len(now), len(before))
        for old, new in zip(before, now):
            self.assertEqual(old.leaf, new.leaf)
            self.assertEqual(hashlib.sha256(b"\0" + new.leaf).digest(), new.leaf_hash)


@unittest.skipUnless(os.environ.get(INSIDE), "no mount namespace may be made here (unshare --map-root-user --mount)")
class FullDisk(Storage):
    def fill(self, left):
        """Leaves `left` bytes free; returns the file that takes the rest."""
        ballast = self.disk / "ballast"
        room = os.statvfs(self.disk)
        with open(ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - left)
        return ballast

    def run_out_of_room(self):
        """A job that meets a full disk: its name, what was acknowledged by then, and the file that fills the disk."""
        self.cluster.await_state(self.create("before", 4).name, {"SUCCEEDED"}, 60)
        job = self.create("during", 120, words=200)  # some 10 KiB each: far more than what will be left
        e2e.wait_until("the job runs", 60, lambda: self.cluster.get_job(job.name).progress.samples_done > 0)
        ballast = self.fill(left=256 << 10)
        e2e.wait_until("the disk is full", 60, lambda: os.statvfs(self.disk).f_bavail == 0)
        asked = -1
        while asked != self.fake.total():  # until nothing is asked any more: the job waits
            asked = self.fake.total()
            time.sleep(1)
        for role, process in self.cluster.processes.items():
            self.assertIsNone(process.poll(), f"{role} ended:\n{self.cluster.log_tail(role)}")
        acknowledged = self.cluster.entries()  # reading goes on
        self.assertLess(self.fake.total(), 120)
        return job.name, acknowledged, ballast

    def finish(self, job, acknowledged):
        done = self.cluster.await_state(job, {"SUCCEEDED"}, 200)
        self.assertEqual(done.progress.samples_done, 120)
        self.check_nothing_lost(acknowledged)
        for asks in self.fake.asked.values():  # an answer that the ledger could not take is asked for again, once
            self.assertLessEqual(asks, 2)

    def test_full_disk_of_the_ledger_is_said_on_the_job(self):
        self.start(small_disk="ledger")
        job, acknowledged, ballast = self.run_out_of_room()
        waiting = self.cluster.get_job(job)
        self.assertEqual(self.cluster.state_name(waiting), "EXTRACTING")  # it waits, it has not failed
        self.assertEqual(waiting.state_reason, "PEER_UNAVAILABLE")
        self.assertRegex(waiting.state_message, "ledger.*(disk is full|read-only because a write failed)")
        ballast.unlink()
        self.finish(job, acknowledged)  # by itself: the ledger looks at what is on the disk, and goes on

    def test_full_disk_of_everything_ends_no_process(self):
        self.start(small_disk=".")
        job, acknowledged, ballast = self.run_out_of_room()
        ballast.unlink()
        self.finish(job, acknowledged)  # without a restart


class CorruptDatabase(Storage):
    def database_files(self, folder, suffix):
        return sorted((path for path in folder.rglob(f"*{suffix}") if path.stat().st_size > 0),
                      key=lambda path: path.stat().st_size, reverse=True)

    def damage(self, path, at):
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)

    def verdict(self, role, read):
        """Starts the role on what is there: ("refused", its log) when it ends by itself, ("answered", error code) when the
        read fails, ("served", what it read) otherwise."""
        self.cluster.start(role)
        try:
            self.cluster.await_serving(role)
        except AssertionError:
            self.assertIn(self.cluster.processes.pop(role).returncode, (1, 2))  # an error, not a crash
            return "refused", self.cluster.log_tail(role)
        try:
            return "served", read()
        except e2e.grpc.RpcError as error:
            return "answered", f"{error.code().name}: {error.details()}"
        finally:
            self.cluster.kill(role)

    def test_flipped_byte_of_the_ledger_is_noticed_or_harmless(self):
        """Whatever byte of the database changes, what is served afterwards is what was acknowledged, or it is an error that
        names the ledger."""
        self.start()
        self.cluster.await_state(self.create("one", 8).name, {"SUCCEEDED"}, 60)
        self.cluster.kill("jobs")
        honest = [entry.leaf for entry in self.cluster.entries()]
        self.cluster.kill("ledger")
        database, good = self.data / "ledger", self.work / "good"
        shutil.copytree(database, good)  # opening a damaged database may write to it, so each trial begins with this
        files = [path for suffix in (".log", ".sst") for path in self.database_files(good, suffix)]
        self.assertTrue(files)
        noticed = 0
        for path in files[:3]:
            for quarter in (1, 2, 3):
                with self.subTest(file=path.name, quarter=quarter):
                    shutil.rmtree(database)
                    shutil.copytree(good, database)
                    self.damage(database / path.relative_to(good), path.stat().st_size * quarter // 4)
                    kind, what = self.verdict("ledger", self.cluster.entries)
                    if kind == "served":
                        self.assertEqual([entry.leaf for entry in what], honest)
                    else:
                        noticed += 1
                        self.assertRegex(what, "(?i)corrupt|DATA_LOSS|does not match|checksum")
        self.assertGreater(noticed, 0)


if __name__ == "__main__":
    enter_namespace()
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    known, rest = parser.parse_known_args()
    BIN = os.path.abspath(known.bin)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)

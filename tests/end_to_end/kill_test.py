"""Kills processes of a running job with SIGKILL, at random moments, and checks that nothing is lost, doubled or wasted.

    kill_test.py --bin build/release/bin --teacher embedded --kills 20
    kill_test.py --bin build/release/bin --teacher fake --kills 20 --seed 7

The seed is printed; it fixes which process dies at which point of the job, though not what every thread was doing then.

With `embedded` the job goes from prompts to a released student and its evidence is verified; every process is a victim.
With `fake` the teacher is an HTTP endpoint of this test that counts what it is asked, so that every single ask is accounted
for; the job stops when its dataset is frozen.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import sys
import tempfile
import time
import uuid

import grpc

import cluster as e2e
from fake_teacher import FakeTeacher, teacher_config

CONCURRENCY = 4
ADVANCE_SECONDS = 120  # from one kill to the next; far more than it takes, but some machines are busy


def request_id(job_uid, index, attempt):
    """ledger/uuid.h: SampleRequestId."""
    digest = bytearray(hashlib.sha256(f"retort/sample/v1\n{job_uid}\n{index}\n{attempt}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


class Watcher:
    """Remembers every entry that the ledger has ever shown, and checks that each stays as it was."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.leaf_hashes = {}

    def look(self):
        """Called while the ledger answers; returns the captures of all samples."""
        entries = self.cluster.entries()
        assert [e.index for e in entries] == list(range(len(entries))), "indices have gaps"
        assert len(entries) >= len(self.leaf_hashes), f"{len(self.leaf_hashes)} entries were there, now {len(entries)}"
        captures = []
        for entry in entries:
            assert hashlib.sha256(b"\0" + entry.leaf).digest() == entry.leaf_hash, f"entry {entry.index}: wrong leaf hash"
            known = self.leaf_hashes.setdefault(entry.index, entry.leaf_hash)
            assert known == entry.leaf_hash, f"entry {entry.index} is another than before"
            if entry.kind == self.cluster.stubs.ledger.ENTRY_KIND_SAMPLE:
                captures.append(json.loads(entry.statements[0].statement))
        return captures


def check_request_ids(cluster):
    seen = set()
    for entry in cluster.entries():
        name = json.loads(entry.statements[0].statement)["request_id"]
        assert name not in seen, f"request id {name} is in the log twice"
        seen.add(name)


def kill_and_restart(cluster, victim):
    """True when there was something to kill."""
    if victim == "retort-train":
        return cluster.kill_trainer()
    cluster.kill(victim)
    cluster.start(victim)
    cluster.await_serving(victim)
    return True


def fraction_done(job):
    """How far the job is, from 0 to 1; extraction and training count half each."""
    extraction = job.progress.samples_done / max(1, job.progress.samples_total)
    if job.spec.extract_only:
        return extraction
    return 0.5 * extraction + 0.5 * job.progress.steps_done / max(1, job.progress.steps_total)


def await_fraction(cluster, watcher, name, target, done):
    """Looks at ledger and job until the job is that far; returns it with the captures of the last look."""
    seen = {}

    def there():
        seen["captures"] = watcher.look()
        job = seen["job"] = cluster.get_job(name)
        state = cluster.state_name(job)
        assert state not in ("FAILED", "CANCELLED"), f"{state} after {done} kills: {job.state_reason}: {job.state_message}"
        assert state != "SUCCEEDED", f"the job ended after {done} kills: give it more work (--prompts, --steps)"
        return fraction_done(job) >= target

    e2e.wait_until(f"{name} at {target:.2f}", ADVANCE_SECONDS, there)
    return seen["job"], seen["captures"]


def run_kills(cluster, watcher, job, arguments, chance, fake):
    """Kills at random points of the job's way, whatever the speed of the machine. Returns, for each prompt that was in the
    ledger at a kill, how often the fake teacher had been asked by then."""
    asked_of_recorded = {}
    for done, target in enumerate(sorted(chance.uniform(0, 0.9) for _ in range(arguments.kills))):
        if fake is not None:  # it holds the rest back, so that every kill finds work left and calls in flight
            fake.allow(max(1, int(target * arguments.prompts) + 1 - job.progress.samples_done))
        job, captures = await_fraction(cluster, watcher, job.name, target, done)
        time.sleep(chance.uniform(0, arguments.pause))
        if fake is not None:
            with fake.lock:
                asked = dict(fake.asked)
            for capture in captures:  # what is recorded now must never be asked again
                asked_of_recorded.setdefault(capture["index"], asks_of(asked, job.uid, capture["index"]))
        victims = ["ledger", "policy", "teacher", "jobs", "jobs"]
        if job.progress.steps_total > 0:
            victims = ["ledger", "jobs", "retort-train", "retort-train"]
        victim = chance.choice(victims)
        if not kill_and_restart(cluster, victim):
            e2e.wait_until("a trainer to kill", ADVANCE_SECONDS, cluster.kill_trainer)
        print(f"kill {done + 1:2}: {victim:<12} at {target:.2f}, {len(watcher.leaf_hashes)} entries", flush=True)
    if fake is not None:
        fake.allow(None)
    return asked_of_recorded


def asks_of(asked, job_uid, index):
    """How often the prompt was asked, over all attempts."""
    count, attempt = 0, 1
    while attempt <= 200:
        count += asked.get(request_id(job_uid, index, attempt), 0)
        attempt += 1
    return count


def check_samples(captures, job_uid, prompts, kills):
    by_index = {}
    for capture in captures:
        assert capture["request_id"] == request_id(job_uid, capture["index"], capture["attempt"])
        by_index.setdefault(capture["index"], []).append(capture["attempt"])
    assert sorted(by_index) == list(range(prompts)), f"indices in the ledger: {sorted(by_index)}"
    repeated = [capture for capture in captures if capture["attempt"] > 1]
    assert len(repeated) <= kills * CONCURRENCY, f"{len(repeated)} repeats for {kills} kills"
    doubled = [index for index, attempts in by_index.items() if len(attempts) > 1]
    # An index with two entries: the first append was on its way when a process died, and could not be seen.
    assert len(doubled) <= kills, f"two answers of {doubled}"
    return len(repeated), len(doubled)


def check_asks(fake, asked_of_recorded, job_uid, captures):
    with fake.lock:
        asked = dict(fake.asked)
    for index, before in asked_of_recorded.items():
        now = asks_of(asked, job_uid, index)
        assert now == before, f"prompt {index} was in the ledger and was asked again ({before} -> {now})"
    for name, count in asked.items():
        assert count == 1, f"request {name} reached the teacher {count} times"
    recorded = {capture["request_id"] for capture in captures}
    assert recorded <= set(asked), "an entry whose request the teacher never saw"
    print(f"asked {sum(asked.values())} times for {len(recorded)} entries: {sum(asked.values()) - len(recorded)} answers "
          "were in flight when a process died", flush=True)


def verify_evidence(cluster, job, vkey):
    """One process with all roles takes over the data; the evidence pack is made and checked as a person would."""
    for role in e2e.ROLES:
        cluster.kill(role)
    server = cluster.start_together()
    evidence = cluster.work / "evidence"
    dev = cluster.work / "identity" / "dev"  # a person's certificate: evidence is not for services
    tls = ["--server", server, "--tls-ca", cluster.base.tls.authorities, "--tls-cert", dev / "client.crt", "--tls-key",
           dev / "client.key", "--project", e2e.PROJECT.split("/")[1]]
    cluster.retort(*tls, "audit", "export", "--job", job.name.split("/")[-1], "--out", str(evidence))
    cluster.kill("all")
    verified = cluster.retort("audit", "verify", str(evidence), "--key", vkey, check=False)
    assert verified.returncode == 0 and "VERIFIED" in verified.stdout, verified.stdout + verified.stderr
    print(verified.stdout.strip().splitlines()[0], flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--teacher", choices=["embedded", "fake"], default="embedded")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.1, help="longest wait between reaching a point and the kill")
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--keep", help="folder for logs and data; a temporary one otherwise")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    chance = random.Random(arguments.seed)
    fake = FakeTeacher() if arguments.teacher == "fake" else None
    with tempfile.TemporaryDirectory(prefix="retort-kill-") as temporary:
        work = pathlib.Path(arguments.keep or temporary)
        work.mkdir(parents=True, exist_ok=True)
        stubs = e2e.retort_client.Stubs()
        teachers = [teacher_config(stubs, fake.url, max_attempts=1, timeout_seconds=250)] if fake else []
        with e2e.Cluster(arguments.bin, work, teachers, stubs) as cluster:
            started = time.monotonic()
            cluster.start_all()
            spec = e2e.make_spec(stubs, [f"Name {number} things that are {number} days old." for number in range(arguments.prompts)],
                                 teacher="fake" if fake else "embedded", extract_only=bool(fake), concurrency=CONCURRENCY,
                                 max_tokens=16)
            if not fake:
                spec.training.steps = arguments.steps
            job = cluster.create_job(spec, "kills")
            watcher = Watcher(cluster)
            e2e.wait_until("the first entry", 60, cluster.entries)
            vkey = cluster.ledger.GetCheckpoint(
                stubs.ledger.GetCheckpointRequest(name=f"{e2e.PROJECT}/ledgers/main"), timeout=30).vkey
            try:
                asked_of_recorded = run_kills(cluster, watcher, job, arguments, chance, fake)
                job = cluster.await_state(job.name, {"SUCCEEDED"}, 150)
                captures = watcher.look()
                check_request_ids(cluster)
                repeats, doubled = check_samples(captures, job.uid, arguments.prompts, arguments.kills)
                if fake:
                    check_asks(fake, asked_of_recorded, job.uid, captures)
                print(f"{arguments.kills} kills, {len(watcher.leaf_hashes)} entries, {len(captures)} samples of "
                      f"{arguments.prompts} prompts, {repeats} repeats, {doubled} with two answers, "
                      f"{time.monotonic() - started:.0f} s", flush=True)
                if not fake:
                    verify_evidence(cluster, job, vkey)
            except (AssertionError, grpc.RpcError):
                for role in e2e.ROLES:
                    print(f"--- {role}\n{cluster.log_tail(role)}", file=sys.stderr)
                raise
            finally:
                if fake:
                    fake.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

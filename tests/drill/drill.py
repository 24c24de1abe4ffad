"""Faults at real processes, one after the other: what happens to a job, to the ledger, and which alerts fire.

    /usr/bin/python3 -B tests/drill/drill.py --bin build/release/bin [--only kill,stop] [--hold 20] [--teacher-down 600]

Every fault meets a job that is being worked on, with one process for each role over mutual TLS, an HTTP endpoint as its teacher and a
Prometheus with the rules of deploy/monitoring (their waiting times left out). It holds for --hold seconds, then it is mended as an
operator would, where the table says so; otherwise nobody touches anything. A row is good when

- the job ends well by itself, with every prompt in the ledger once,
- all that the ledger had shown before is there byte for byte, and no request id is there twice,
- the alerts that should fire did, and the job said what it waited for.

It runs in a network and mount namespace of its own (`unshare`), where it may drop packets and mount a small disk. Needs gcc, prometheus
and nftables. Prints a line for each fault and a JSON line at the end; exit status 1 when a row is not good.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "end_to_end"))
import cluster as e2e  # noqa: E402
import fake_teacher  # noqa: E402

INSIDE = "RETORT_DRILL_NAMESPACE"
PROMPTS = 60
RECOVERY_SECONDS = 240
DISK_BYTES = 64 << 20
DAY = 86400


def enter_namespace():
    """Starts this program again where it may mount and filter packets; the loopback interface is all its network."""
    if os.environ.get(INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--map-root-user", "--mount", "--net", sys.executable, "-B", *sys.argv])


class Faults:
    """The file that tests/drill/faults.c reads in one process."""

    def __init__(self, path):
        self.path = path
        self.set()

    def set(self, sync_milliseconds=0, clock_seconds=0):
        if not self.path.exists():
            self.path.write_bytes(bytes(16))
        with open(self.path, "r+b") as file:
            file.write(struct.pack("<qq", sync_milliseconds, clock_seconds))


class DrillCluster(e2e.Cluster):
    def __init__(self, bin_dir, work, teachers, stubs, library):
        self.library = library
        self.metrics = {role: e2e.free_port() for role in e2e.ROLES}
        self.faults = {role: Faults(work / f"{role}.faults") for role in e2e.ROLES}
        super().__init__(bin_dir, work, teachers, stubs)

    def role_config(self, role):
        config = super().role_config(role)
        config.metrics_listen = f"127.0.0.1:{self.metrics[role]}"
        return config

    def _spawn(self, name, *arguments):
        environment = dict(os.environ, LD_PRELOAD=str(self.library), RETORT_FAULTS=str(self.faults[name].path))
        with open(self.work / f"{name}.log", "ab") as log:
            return subprocess.Popen([self.bin / "retortd", "--config", self.configs[name], *arguments], stdout=log, stderr=log,
                                    stdin=subprocess.DEVNULL, env=environment)


class Prometheus:
    """The real one, on the rules that are shipped, without their waiting times."""

    def __init__(self, work, targets):
        rules = yaml.safe_load((REPOSITORY / "deploy" / "monitoring" / "alerts.yaml").read_text())
        for group in rules["groups"]:
            group["interval"] = "1s"
            for rule in group["rules"]:
                rule.pop("for", None)
        (work / "rules.yaml").write_text(yaml.safe_dump(rules))
        (work / "prometheus.yaml").write_text(yaml.safe_dump({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(work / "rules.yaml")],
            "scrape_configs": [{"job_name": "retort", "static_configs": [{"targets": targets}]}]}))
        self.address = f"127.0.0.1:{e2e.free_port()}"
        with open(work / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={work}/prometheus.yaml", f"--storage.tsdb.path={work}/prometheus",
                 f"--web.listen-address={self.address}"], stdout=log, stderr=log)

    def firing(self):
        try:
            with urllib.request.urlopen(f"http://{self.address}/api/v1/alerts", timeout=5) as answer:
                alerts = json.load(answer)["data"]["alerts"]
        except OSError:
            return set()
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def close(self):
        self.process.kill()
        self.process.wait()


class Scene:
    """A job under way, and what to hold it against afterwards."""

    def __init__(self, options, library, work, small_disk=False, certificates=None):
        self.options, self.work = options, work
        self.teacher = fake_teacher.FakeTeacher()
        if small_disk:
            disk = work / "data" / "ledger"
            disk.mkdir(mode=0o700, parents=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", disk], check=True)
            self.disk = disk
        stubs = e2e.retort_client.Stubs() if Scene.stubs is None else Scene.stubs
        Scene.stubs = stubs
        self.cluster = DrillCluster(options.bin, work, [fake_teacher.teacher_config(
            stubs, self.teacher.url, max_attempts=2, timeout_seconds=5)], stubs, library)
        if certificates is not None:
            certificates(self.cluster)
        self.cluster.start_all()
        self.prometheus = Prometheus(work, [f"127.0.0.1:{port}" for port in self.cluster.metrics.values()])
        self.fired, self.reasons = set(), set()
        self.teacher.allow(15)
        spec = e2e.make_spec(stubs, [f"{n} " + "word " * 100 for n in range(PROMPTS)], teacher="fake", extract_only=True)
        self.job = self.cluster.create_job(spec, "drill")
        e2e.wait_until("samples come", 60, lambda: self.cluster.get_job(self.job.name).progress.samples_done >= 10)
        self.before = self.cluster.entries()
        self.fired_before = self.prometheus.firing()

    stubs = None

    def look(self, seconds, also=lambda: None):
        """Lets the fault hold, and notes the alerts and what the job says."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.fired |= self.prometheus.firing() - self.fired_before
            with contextlib.suppress(e2e.grpc.RpcError):
                job = self.cluster.jobs.GetJob(Scene.stubs.jobs.GetJobRequest(name=self.job.name), timeout=2)
                if job.state_reason not in ("", "IN_PROGRESS"):
                    self.reasons.add(job.state_reason)
            also()
            time.sleep(0.5)

    def finish(self):
        begin = time.monotonic()
        done = self.cluster.await_state(self.job.name, {"SUCCEEDED"}, RECOVERY_SECONDS)
        took = time.monotonic() - begin
        assert done.progress.samples_done == PROMPTS, f"{done.progress.samples_done} of {PROMPTS} samples"
        entries = self.cluster.entries()
        assert [entry.leaf for entry in entries[:len(self.before)]] == [entry.leaf for entry in self.before], "acknowledged entries changed"
        ids, prompts = set(), set()
        for entry in entries:
            assert hashlib.sha256(b"\0" + entry.leaf).digest() == entry.leaf_hash
            statement = json.loads(entry.statements[0].statement)
            assert statement["request_id"] not in ids, "a request id is there twice"
            ids.add(statement["request_id"])
            if entry.kind == Scene.stubs.ledger.ENTRY_KIND_SAMPLE:
                prompts.add(statement["index"])
        assert prompts == set(range(PROMPTS)), f"{len(prompts)} of {PROMPTS} prompts are in the ledger"
        return took

    def close(self):
        self.cluster.__exit__()
        self.prometheus.close()
        self.teacher.close()
        if hasattr(self, "disk"):
            subprocess.run(["umount", "-l", self.disk], check=True)


def start_again(scene, role):
    scene.cluster.start(role)
    scene.cluster.await_serving(role)


def kill(scene):
    for role in e2e.ROLES:
        scene.cluster.kill(role)
        scene.teacher.allow(8)
        scene.look(scene.options.hold / 4)
        start_again(scene, role)
    scene.teacher.allow(None)


def stop(scene):
    process = scene.cluster.processes["ledger"]
    process.send_signal(signal.SIGSTOP)
    scene.teacher.allow(None)
    scene.look(scene.options.hold)
    process.send_signal(signal.SIGCONT)


def disk_full(scene):
    ballast = scene.disk / "ballast"
    room = os.statvfs(scene.disk)
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - (64 << 10))
    scene.teacher.allow(None)
    scene.look(scene.options.hold)
    ballast.unlink()


def slow_disk(scene):
    scene.cluster.faults["ledger"].set(sync_milliseconds=1000)
    scene.teacher.allow(None)
    scene.look(scene.options.hold)
    scene.cluster.faults["ledger"].set()


def clock_jump(scene):
    for role, seconds in (("ledger", 3600), ("ledger", -3600), ("jobs", 3600), ("jobs", -3600), ("teacher", DAY), ("policy", -DAY)):
        scene.cluster.faults[role].set(clock_seconds=seconds)
        scene.teacher.allow(6)
        scene.look(scene.options.hold / 6)
        scene.cluster.faults[role].set()
    scene.teacher.allow(None)


def nft(*words):
    subprocess.run(["nft", *words], check=True)


def partition(scene):
    port = scene.cluster.ports["ledger"]
    nft("add", "table", "inet", "drill")
    nft("add", "chain", "inet", "drill", "in", "{ type filter hook input priority 0; }")
    nft("add", "rule", "inet", "drill", "in", "tcp", "dport", str(port), "drop")
    nft("add", "rule", "inet", "drill", "in", "tcp", "sport", str(port), "drop")
    scene.teacher.allow(None)
    scene.look(2 * scene.options.hold)
    nft("delete", "table", "inet", "drill")


def certificates(options):
    """A pair that ends soon and one that does not; `current` is a link to the folder of one of them."""
    def lay(cluster):
        folder = cluster.work / "tls"
        for name in ("short", "long"):
            (folder / name).mkdir(parents=True)
        ends = options.certificate_seconds
        subprocess.run([cluster.bin / "load_clients", "issue", folder,
                        f"short/server=spiffe://dev.retort.invalid/server@{ends}", "long/server=spiffe://dev.retort.invalid/server",
                        "client=spiffe://dev.retort.invalid/client"], check=True)
        (folder / "current").symlink_to("short")
        tls = cluster.base.tls
        tls.authorities = str(folder / "ca.crt")
        tls.certificate, tls.private_key = str(folder / "current" / "server.crt"), str(folder / "current" / "server.key")
        cluster.configs = {role: cluster._write_config(role) for role in e2e.ROLES}
        for role in e2e.ROLES:
            cluster.channels[role] = e2e.retort_client.connect(f"127.0.0.1:{cluster.ports[role]}", folder / "client.crt",
                                                               folder / "client.key", tls.authorities)
        cluster.jobs = cluster.stubs.jobs_grpc.JobsServiceStub(cluster.channels["jobs"])
        cluster.ledger = cluster.stubs.ledger_grpc.LedgerServiceStub(cluster.channels["ledger"])
        cluster.certificate_ends = time.monotonic() + ends
    return lay


def certificate(scene):
    """It ends while calls are made; a process that is started then refuses; the new pair is taken up without a restart."""
    scene.look(max(0, scene.cluster.certificate_ends - time.monotonic()) + 3)
    scene.cluster.kill("policy")
    scene.cluster.start("policy")
    refused = scene.cluster.processes.pop("policy")
    assert refused.wait(timeout=60) == 1, "a process started with a certificate that has ended"
    assert "ended" in scene.cluster.log_tail("policy"), scene.cluster.log_tail("policy")
    scene.teacher.allow(None)
    scene.look(5)
    link = scene.cluster.work / "tls" / "current"
    (link.parent / "next").symlink_to("long")
    (link.parent / "next").rename(link)  # in one step
    scene.look(25)
    start_again(scene, "policy")


def teacher_down(scene):
    scene.teacher.mode = "503"
    scene.teacher.allow(None)
    scene.look(scene.options.teacher_down)
    scene.teacher.mode = "good"


# name: (what happens, alerts that must fire, reasons of which the job must give one, what an operator does)
FAULTS = {
    "kill": (kill, {"RetortTargetDown"}, {"PEER_UNAVAILABLE"}, "starts the process"),
    "stop": (stop, {"RetortTargetDown"}, set(), "nothing"),
    "disk_full": (disk_full, {"RetortLedgerNotAppending", "RetortNotReady"}, {"PEER_UNAVAILABLE"}, "makes room"),
    "slow_disk": (slow_disk, set(), set(), "nothing"),
    "clock_jump": (clock_jump, set(), set(), "nothing"),
    "partition": (partition, set(), {"PEER_UNAVAILABLE"}, "nothing"),
    "certificate": (certificate, {"RetortCertificateEnds"}, {"PEER_UNAVAILABLE"}, "puts new files in place"),
    "teacher_down": (teacher_down, set(), {"TEACHER_UNAVAILABLE"}, "nothing"),
}


def run(name, options, library):
    act, alerts, reasons, _ = FAULTS[name]
    with tempfile.TemporaryDirectory(prefix=f"retort-drill-{name}-") as folder:
        scene = Scene(options, library, pathlib.Path(folder), small_disk=name == "disk_full",
                      certificates=certificates(options) if name == "certificate" else None)
        row = {"fault": name}
        try:
            act(scene)
            row["recovered_seconds"] = round(scene.finish(), 1)
            row["alerts"], row["reasons"] = sorted(scene.fired), sorted(scene.reasons)
            assert alerts <= scene.fired, f"did not fire: {sorted(alerts - scene.fired)}"
            assert not reasons or reasons & scene.reasons, f"the job never said {sorted(reasons)}, but {sorted(scene.reasons)}"
            row["good"] = True
        except (AssertionError, e2e.grpc.RpcError, subprocess.TimeoutExpired) as error:
            row["good"], row["why"] = False, str(error)[:2000]
            for role in e2e.ROLES:
                print(f"--- {role}\n{scene.cluster.log_tail(role)}", file=sys.stderr)
        finally:
            scene.close()
    return row


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("--bin", required=True)
    arguments.add_argument("--only", default=",".join(FAULTS), help="faults, separated by commas")
    arguments.add_argument("--hold", type=float, default=20, help="seconds that a fault holds")
    arguments.add_argument("--teacher-down", type=float, default=600, help="seconds that the teacher is down")
    arguments.add_argument("--certificate-seconds", type=int, default=60, help="life of the certificate that ends")
    options = arguments.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in FAULTS]:
        arguments.error(f"--only: saw {unknown[0]}, wanted some of {', '.join(FAULTS)}")
    options.bin = os.path.abspath(options.bin)
    rows = []
    with tempfile.TemporaryDirectory(prefix="retort-drill-") as folder:
        library = pathlib.Path(folder) / "faults.so"
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-Wall", "-o", library, REPOSITORY / "tests" / "drill" / "faults.c", "-ldl"],
                       check=True)
        for name in names:
            rows.append(run(name, options, library))
            print(f"{name:<13} {'good' if rows[-1]['good'] else 'NOT GOOD'}  {json.dumps(rows[-1])}", flush=True)
    print(json.dumps(rows))
    return 0 if all(row["good"] for row in rows) else 1


if __name__ == "__main__":
    enter_namespace()
    sys.exit(main())

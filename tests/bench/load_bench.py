"""A crowd at a server's door: what it answers at its best, and what at twice that.

    /usr/bin/python3 tests/bench/load_bench.py --bin build/release/bin [--seconds 300] [--clients 1000]

Starts a retortd with all roles over mutual TLS, finds its best goodput by offering more and more, then offers twice that for
`--seconds`, the rates of its identities set to nineteen twentieths of what it can do, with watch streams open beside it, and prints one JSON line. Exit status 1 when it crashed, its memory grew, goodput
fell below nine tenths of the best, nobody was refused, a call that was let in took longer than --p99-ms at p99, or somebody was refused without being
told when to come back. Clients and server share the machine.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "end_to_end"))
import cluster  # noqa: E402

IDENTITIES = 50
PROJECT = "kitchen"


class Memory(threading.Thread):
    """Samples a process's resident memory each second."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.kib, self.stopped = pid, [], threading.Event()

    def run(self):
        while not self.stopped.wait(1):
            try:
                status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
            except OSError:
                return
            self.kib.append(int(status.split("VmRSS:")[1].split()[0]))


def configure(bench, work, limits):
    folder = work / "tls"
    subprocess.run([bench.bin / "load_clients", "issue", folder, "server", "submitter",
                    *[f"client{i}" for i in range(IDENTITIES)]], check=True)
    (work / "data").mkdir(mode=0o700, exist_ok=True)
    base = bench.base
    grants = [{"identity": "spiffe://load.retort.invalid/server", "projects": ["*"],
               "roles": ["service_jobs", "service_teacher", "service_policy", "service_ledger", "service_trainer"]},
              {"identity": "spiffe://load.retort.invalid/submitter", "roles": ["submitter"], "projects": [PROJECT]}]
    grants += [{"identity": f"spiffe://load.retort.invalid/client{i}", "roles": ["viewer"], "projects": [PROJECT]}
               for i in range(IDENTITIES)]
    access = work / "access.yaml"
    access.write_text(json.dumps({"trust_domain": "load.retort.invalid", "grants": grants}))
    config = bench.stubs.server_config.ServerConfig()
    config.CopyFrom(base)
    config.access_file, config.data_dir, config.reflection = str(access), str(work / "data"), False
    config.listen = f"127.0.0.1:{cluster.free_port()}"
    config.metrics_listen = f"127.0.0.1:{cluster.free_port()}"
    config.tls.certificate, config.tls.private_key, config.tls.authorities = (
        str(folder / "server.crt"), str(folder / "server.key"), str(folder / "ca.crt"))
    return config, write(work, config, limits)


def write(work, config, limits):
    for name, value in limits.items():
        setattr(config.call_limits, name, value)
    path = work / "load.yaml"
    path.write_text(cluster.json_format.MessageToJson(config, preserving_proto_field_name=True))
    return path


def serve(bench, path, config, log):
    process = subprocess.Popen([bench.bin / "retortd", "--config", path], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    host, port = config.listen.rsplit(":", 1)

    def listening():
        assert process.poll() is None, f"retortd ended with {process.returncode}: see {log.name}"
        try:
            with cluster.socket.create_connection((host, int(port)), timeout=1):
                return True
        except OSError:
            return False

    cluster.wait_until("retortd serves", 60, listening)
    return process


def crowd(bench, work, config, job, clients, rate, seconds, watchers=0):
    done = subprocess.run(
        [bench.bin / "load_clients", "run", work / "tls", "--address", config.listen, "--job", job, "--identities", str(IDENTITIES),
         "--clients", str(clients), "--rate", str(rate), "--seconds", str(seconds), "--watchers", str(watchers)],
        check=True, capture_output=True, text=True, timeout=seconds + 240)
    return json.loads(done.stdout)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("--bin", required=True)
    arguments.add_argument("--clients", type=int, default=1000)
    arguments.add_argument("--seconds", type=float, default=300)
    arguments.add_argument("--step-seconds", type=float, default=10)
    arguments.add_argument("--watchers", type=int, default=100)
    arguments.add_argument("--p99-ms", type=float, default=1000)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="retort-load-") as folder:
        work = pathlib.Path(folder)
        bench = cluster.Cluster(options.bin, work)
        # First no rate, to see what the server can do; then what an operator would set, having seen it.
        config, path = configure(bench, work, {"calls_per_second": 1_000_000})
        log = open(work / "retortd.log", "ab")
        process = serve(bench, path, config, log)
        tls = work / "tls"
        subprocess.run([bench.bin / "retort", "--server", config.listen, "--tls-ca", tls / "ca.crt", "--tls-cert", tls / "submitter.crt",
                        "--tls-key", tls / "submitter.key", "--project", PROJECT, "job", "create",
                        "--file", REPOSITORY / "deploy" / "examples" / "refused-openai.yaml", "--id", "load"],
                       check=True, capture_output=True, text=True, timeout=60)
        job = f"projects/{PROJECT}/jobs/load"
        steps, rate = [], 500.0
        while True:
            steps.append(crowd(bench, work, config, job, options.clients, rate, options.step_seconds))
            if steps[-1]["goodput_per_second"] < 0.8 * rate:
                break
            rate *= 1.6
        best = max(step["goodput_per_second"] for step in steps)
        process.terminate()
        process.wait(timeout=60)
        limits = {"calls_per_second": math.floor(0.95 * best / IDENTITIES), "burst": math.ceil(best / IDENTITIES)}
        path = write(work, config, limits)
        process = serve(bench, path, config, log)
        memory = Memory(process.pid)
        memory.start()
        loaded = crowd(bench, work, config, job, options.clients, 2 * best, options.seconds, options.watchers)
        memory.stopped.set()
        alive = process.poll() is None
        after = crowd(bench, work, config, job, options.clients, best / 2, options.step_seconds) if alive else {}
        process.terminate()
        status = process.wait(timeout=60)
    kib = memory.kib
    fifth = max(1, len(kib) // 5)
    early, late = max(kib[fifth:2 * fifth]), max(kib[-fifth:])
    figures = {
        "best_per_second": best, "steps": [[s["offered_per_second"], s["goodput_per_second"], s["p99_ms"]] for s in steps],
        "loaded": loaded, "ratio": round(loaded["goodput_per_second"] / best, 3), "after_p99_ms": after.get("p99_ms"),
        "rss_mib_early": early // 1024, "rss_mib_late": late // 1024, "alive": alive, "exit_status": status,
    }
    print(json.dumps(figures))
    good = (alive and status == 0 and figures["ratio"] >= 0.9 and loaded["p99_ms"] <= options.p99_ms and
            loaded["refused_with_time"] > 0 and loaded["refused_without_time"] == 0 and not loaded["others"] and loaded["watchers_broken"] == 0 and
            late <= 1.1 * early + 16384)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

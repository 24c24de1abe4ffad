#!/usr/bin/env python3
"""Health, metrics and the log of a real retortd, as a kubelet, a Prometheus and a log collector see them."""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import grpc

import cluster

# The wire form of grpc.health.v1: field 1 of both messages.
SERVING, NOT_SERVING = 1, 2
LEDGER, JOBS = "retort.ledger.v1.LedgerService", "retort.jobs.v1.JobsService"
BIN = pathlib.Path()
INSIDE = "RETORT_TEST_NAMESPACE"


def enter_namespace():
    """Starts this program again where it may mount; returns when that is not allowed."""
    unshare = ["unshare", "--map-root-user", "--mount"]
    if os.environ.get(INSIDE) or subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        return
    os.environ[INSIDE] = "1"
    os.execvp("unshare", [*unshare, sys.executable, "-B", *sys.argv])


def check(port, service="", timeout=10):
    """The status of a service, or the code of the error. Without TLS, as a kubelet asks."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=lambda name: (
            b"" if not name else b"\x0a" + bytes([len(name)]) + name.encode()), response_deserializer=bytes)
        try:
            answer = method(service, timeout=timeout, wait_for_ready=True)
        except grpc.RpcError as error:
            return error.code()
        return answer[1] if answer else 0


def scrape(port):
    """{name: {labels: value}} of a process's metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain"), answer.headers["Content-Type"]
        text = answer.read().decode()
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? (\S+)", line)
        if match and not line.startswith("#"):
            found.setdefault(match.group(1), {})[match.group(2) or ""] = float(match.group(3))
    return found


MONITORING = cluster.REPOSITORY / "deploy" / "monitoring"


def expressions_of_alerts():
    """{alert: expression}, from the few forms of YAML that the file uses."""
    found, name = {}, None
    for line in (MONITORING / "alerts.yaml").read_text().splitlines():
        if match := re.match(r"\s+- alert: (\w+)$", line):
            name = match.group(1)
            found[name] = ""
        elif match := re.match(r"\s+expr: (.*)$", line):
            found[name] = match.group(1).removeprefix(">-")
        elif name and re.match(r"\s{10}\S", line) and not re.match(r"\s+(summary|runbook):", line):
            found[name] += " " + line.strip()
    return found


class ObservationTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="retort-observation-")
        cls.cluster = cluster.Cluster(BIN, cls.folder.name)
        cls.health, cls.metrics = cluster.free_port(), cluster.free_port()
        config = cls.cluster.stubs.server_config.ServerConfig()
        config.CopyFrom(cls.cluster.base)
        config.data_dir = str(pathlib.Path(cls.folder.name) / "data")
        if os.environ.get(INSIDE):  # a disk that can be filled
            disk = pathlib.Path(config.data_dir) / "ledger"
            disk.mkdir(mode=0o700, parents=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", disk], check=True)
        # A wildcard: roles and trainers of the process must not dial it.
        cls.port = cluster.free_port()
        config.listen = f"0.0.0.0:{cls.port}"
        config.health_listen = f"127.0.0.1:{cls.health}"
        config.metrics_listen = f"127.0.0.1:{cls.metrics}"
        config.drain_wait_seconds = 2
        cls.cluster.configs["all"] = cls.cluster.work / "all.yaml"
        cls.cluster._write_config("all", config)
        cls.cluster.ports["all"] = cls.port
        cls.process = cls.cluster.processes["all"] = cls.cluster._spawn("all")
        dev = pathlib.Path(config.tls.authorities).parent
        cls.channel = cluster.retort_client.connect(f"127.0.0.1:{cls.port}", dev / "client.crt", dev / "client.key",
                                                    config.tls.authorities)
        cls.cluster.channels["all"] = cls.channel
        cls.cluster.jobs = cls.cluster.stubs.jobs_grpc.JobsServiceStub(cls.channel)
        cls.cluster.ledger = cls.cluster.stubs.ledger_grpc.LedgerServiceStub(cls.channel)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__()
        if os.environ.get(INSIDE):
            subprocess.run(["umount", "-l", pathlib.Path(cls.folder.name) / "data" / "ledger"], check=True)
        cls.folder.cleanup()

    def test_1_ready_when_recovery_has_ended(self):
        cluster.wait_until("ready", 120, lambda: check(self.health) == SERVING)
        self.assertEqual(check(self.health, "liveness"), SERVING)
        for service in (LEDGER, JOBS, "retort.policy.v1.PolicyService", "retort.teacher.v1.TeacherService"):
            self.assertEqual(check(self.health, service), SERVING, service)
        self.assertEqual(check(self.health, "retort.jobs.v1.Another"), grpc.StatusCode.NOT_FOUND)

    def test_2_the_health_port_serves_nothing_else(self):
        with grpc.insecure_channel(f"127.0.0.1:{self.health}") as channel:
            call = channel.unary_unary(f"/{JOBS}/ListJobs")
            with self.assertRaises(grpc.RpcError) as refused:
                call(b"", timeout=20)
        self.assertEqual(refused.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_3_a_job_leaves_its_figures(self):
        """Behind a wildcard address a whole extraction runs: each role reached the others."""
        spec = cluster.make_spec(self.cluster.stubs, ["What is soup?", "What is bread?"], extract_only=True, max_tokens=4)
        job = self.cluster.create_job(spec, "observed")
        self.cluster.await_state(job.name, ("SUCCEEDED",), 240)
        seen = scrape(self.metrics)
        samples = seen["retort_samples_total"]
        self.assertEqual(sum(samples.values()), 2, samples)
        self.assertTrue(all('teacher="embedded"' in labels and 'verdict="allow"' in labels for labels in samples), samples)
        self.assertGreaterEqual(seen["retort_ledger_append_seconds_count"][""], 2)
        self.assertGreaterEqual(seen["retort_policy_evaluation_seconds_count"][""], 3)  # the job, and each sample
        self.assertEqual(seen["retort_teacher_request_seconds_count"][""], 2)
        self.assertGreater(seen["retort_teacher_tokens_total"]['direction="output"'], 0)
        self.assertGreater(seen["retort_teacher_tokens_total"]['direction="input"'], 0)
        self.assertEqual(seen["retort_jobs"]['state="SUCCEEDED"'], 1)
        self.assertEqual(seen["retort_jobs"]['state="QUEUED"'], 0)
        self.assertEqual(seen["retort_job_queue_wait_seconds_count"][""], 1)
        self.assertEqual(seen["retort_ledger_entries_total"][""], seen["retort_ledger_tree_size"][""])
        self.assertAlmostEqual(seen["retort_ledger_last_checkpoint_timestamp_seconds"][""], time.time(), delta=300)
        self.assertGreater(seen["retort_tls_cert_expiry_timestamp_seconds"][""], time.time())
        self.assertEqual((seen["retort_ledger_appendable"][""], seen["retort_ready"][""]), (1, 1))
        self.assertEqual(list(seen["retort_build_info"].values()), [1])
        calls = seen["retort_rpc_server_call_duration_seconds_count"]
        created = [count for labels, count in calls.items() if 'grpc_code="OK"' in labels and "JobsService/CreateJob" in labels]
        self.assertEqual(created, [1], calls)

    def test_4_labels_name_no_one(self):
        """Refused calls, invented methods and many names leave the number of lines as it was."""
        for number in range(30):
            with self.assertRaises(grpc.RpcError):
                self.channel.unary_unary(f"/{JOBS}/Invented{number}")(b"", timeout=20)
        for number in range(30):
            request = self.cluster.stubs.jobs.GetJobRequest(name=f"projects/tenant{number}/jobs/secret{number}")
            with self.assertRaises(grpc.RpcError):
                self.cluster.jobs.GetJob(request, timeout=20)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=20) as answer:
            text = answer.read().decode()
        for hidden in ("tenant", "secret", "Invented", "e2e", "soup", "observed", "spiffe"):
            self.assertNotIn(hidden, text)
        self.assertLess(text.count("\n"), 1500)

    def test_4_alerts_and_dashboard_ask_for_what_is_there(self):
        """Every metric, label and state that deploy/monitoring names is one that this server has just shown."""
        seen = scrape(self.metrics)
        labels_of = {name: {label for series in lines for label in re.findall(r'([a-z_]+)="', series)}
                     for name, lines in seen.items()}
        states = set(re.findall(r'state="([A-Z_]+)"', " ".join(seen["retort_jobs"])))
        alerts = expressions_of_alerts()
        self.assertGreaterEqual(len(alerts), 10)
        panels = [(panel["title"], target["expr"]) for panel in json.loads(
            (MONITORING / "dashboard.json").read_text())["panels"] for target in panel["targets"]]
        self.assertGreaterEqual(len(panels), 20)
        for title, expression in [*alerts.items(), *panels]:
            named = re.findall(r"(retort_[a-z_]+)(?:\{([^}]*)\})?", expression)
            self.assertTrue(named or "up{" in expression, title)
            for metric, matchers in named:
                self.assertIn(metric, seen, f"{title}: {expression}")
                for label in re.findall(r"([a-z_]+)(?:=|!)", matchers):
                    self.assertIn(label, labels_of[metric], f"{title}: {expression}")
                for state in re.findall(r'state="([^"]*)"', matchers):
                    self.assertIn(state, states, title)
        for method in re.findall(r'grpc_method="([^"]*)"', " ".join(alerts.values())):
            service, name = method.strip("/").split("/")
            area = service.split(".")[1]
            proto = (cluster.REPOSITORY / "proto" / "retort" / area / "v1" / f"{area}.proto").read_text()
            self.assertIn(f"rpc {name}(", proto, method)

    def test_4_every_alert_has_its_runbook(self):
        text = (MONITORING / "alerts.yaml").read_text()
        sections = set(re.findall(r"^### (\w+)$", (cluster.REPOSITORY / "docs" / "operations.md").read_text(), re.M))
        names = re.findall(r"alert: (\w+)", text)
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertIn(name, sections)
            self.assertIn(f"runbook: docs/operations.md#{name.lower()}\n", text)

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed (Debian: prometheus)")
    def test_4_prometheus_accepts_the_rules(self):
        checked = subprocess.run(["promtool", "check", "rules", MONITORING / "alerts.yaml"], capture_output=True, text=True,
                                 timeout=60)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_5_the_metrics_port_serves_nothing_else(self):
        for path in ("/", "/../etc/passwd"):
            with self.assertRaises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}{path}", timeout=20)
            self.assertIn(refused.exception.code, (400, 404))

    @unittest.skipUnless(os.environ.get(INSIDE), "no mount namespace may be made here (unshare --map-root-user --mount)")
    def test_5_a_disk_without_room_takes_readiness_and_not_liveness(self):
        disk = self.cluster.work / "data" / "ledger"
        room = os.statvfs(disk)
        with open(disk / "ballast", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - (8 << 20))
        cluster.wait_until("not ready", 60, lambda: check(self.health) == NOT_SERVING)
        self.assertEqual(check(self.health, LEDGER), NOT_SERVING)
        self.assertEqual(check(self.health, JOBS), SERVING)  # its own disk has room
        self.assertEqual(check(self.health, "liveness"), SERVING)
        seen = scrape(self.metrics)
        self.assertEqual((seen["retort_ledger_appendable"][""], seen["retort_ready"][""]), (0, 0))
        (disk / "ballast").unlink()
        cluster.wait_until("ready again", 60, lambda: check(self.health) == SERVING)
        self.assertRegex((self.cluster.work / "all.log").read_text(), "not ready: ledger: .*bytes are free on its disk")

    def test_6_drain_goes_down_before_it_stops(self):
        statuses, done = [], threading.Event()

        def watch():
            while not done.is_set():
                statuses.append((time.monotonic(), check(self.health, timeout=1), check(self.health, "liveness", timeout=1)))
                time.sleep(0.1)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            time.sleep(0.3)
            self.process.send_signal(signal.SIGTERM)
            time.sleep(0.7)
            # Not ready, and still answering: what was routed here finds somebody.
            self.cluster.jobs.ListJobs(self.cluster.stubs.jobs.ListJobsRequest(parent=cluster.PROJECT), timeout=20)
            self.assertEqual(self.process.wait(timeout=60), 0)
        finally:
            done.set()
            watcher.join()
        ready = [status for _, status, _ in statuses]
        self.assertIn(NOT_SERVING, ready, statuses)
        self.assertEqual(ready[0], SERVING)
        self.assertNotIn(SERVING, ready[ready.index(NOT_SERVING):])
        draining = [liveness for _, status, liveness in statuses if status == NOT_SERVING]
        self.assertEqual(draining[0], SERVING, statuses)

    def test_7_each_line_of_the_log_is_an_object(self):
        lines = (self.cluster.work / "all.log").read_text().splitlines()
        objects = [json.loads(line) for line in lines if line.startswith("{")]
        others = [line for line in lines if not line.startswith("{")]
        self.assertEqual([line for line in others if line.startswith("retortd")], [])
        messages = [one["msg"] for one in objects]
        self.assertIn("ready", messages)
        self.assertIn("stopping", messages)
        for one in objects:
            self.assertEqual(one["service"], "retortd")
            self.assertRegex(one["ts"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
            self.assertIn(one["level"], ("info", "warning", "error"))
        self.assertNotIn("soup", "\n".join(lines))

    def test_8_text_is_chosen_by_a_word_and_a_wrong_word_is_refused(self):
        config = self.cluster.role_config("policy")
        config.log_format = "xml"
        refused = subprocess.run([BIN / "retortd", "--config", self.cluster._write_config("policy", config), "--roles",
                                  "policy"], capture_output=True, text=True, timeout=60)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("log_format: saw 'xml', wanted json or text", refused.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    arguments, rest = parser.parse_known_args()
    BIN = pathlib.Path(arguments.bin)
    os.environ.pop("http_proxy", None)
    enter_namespace()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)

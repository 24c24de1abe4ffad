"""A whole Retort on loopback for tests: one retortd process per role, with throw-away keys and certificates.

    with Cluster(bin_dir, work_dir) as cluster:
        cluster.start_all()
        job = cluster.create_job(spec)
        cluster.kill("ledger")          # SIGKILL, at once
        cluster.start("ledger")         # the same configuration, port and data
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import uuid

import grpc
from google.protobuf import json_format, text_format

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "deploy" / "examples" / "python"))
import retort_client  # noqa: E402

ROLES = ("ledger", "policy", "teacher", "jobs")
PROJECT = "projects/e2e"
START_SECONDS = 60  # the slowest start opens a database and verifies its tail


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, seconds, condition):
    """Polls until `condition()` is true; fails the test otherwise."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")


class Cluster:
    def __init__(self, bin_dir, work_dir, teachers=(), stubs=None):
        self.bin = pathlib.Path(bin_dir)
        self.work = pathlib.Path(work_dir)
        self.stubs = stubs or retort_client.Stubs()
        self.processes = {}
        self.ports = {role: free_port() for role in ROLES}
        self.base = self._dev_config()
        for teacher in teachers:
            self.base.teachers.add().CopyFrom(teacher)
        self.configs = {role: self._write_config(role) for role in ROLES}
        tls = self.base.tls
        dev = self.work / "identity" / "dev"
        self.channels = {
            role: retort_client.connect(f"127.0.0.1:{self.ports[role]}", dev / "client.crt", dev / "client.key",
                                        tls.authorities) for role in ROLES}
        self.jobs = self.stubs.jobs_grpc.JobsServiceStub(self.channels["jobs"])
        self.ledger = self.stubs.ledger_grpc.LedgerServiceStub(self.channels["ledger"])
        self.teacher = self.stubs.teacher_grpc.TeacherServiceStub(self.channels["teacher"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for role in list(self.processes):
            self.kill(role)
        for channel in self.channels.values():
            channel.close()

    def _dev_config(self):
        """Keys, certificates and the configuration that `retortd --dev` would run with."""
        printed = subprocess.run(
            [self.bin / "retortd", "--dev", "--data-dir", self.work / "identity", "--packs-dir",
             REPOSITORY / "policy" / "packs", "--print-config"],
            check=True, capture_output=True, text=True, timeout=60).stdout
        return text_format.Parse(printed, self.stubs.server_config.ServerConfig())

    def role_config(self, role):
        """What one role of several needs, and nothing that it does not."""
        config = self.stubs.server_config.ServerConfig()
        config.deployment = self.base.deployment
        config.tls.CopyFrom(self.base.tls)
        config.listen = f"127.0.0.1:{self.ports[role]}"
        config.data_dir = str(self.work / "data")  # every role keeps to its own folder of it
        config.access_file = self.base.access_file
        if role != "ledger":
            config.peers.ledger = f"127.0.0.1:{self.ports['ledger']}"
        if role == "ledger":
            config.keys.log, config.keys.vault = self.base.keys.log, self.base.keys.vault
            config.trusted_keys.extend(self.base.trusted_keys)
        elif role == "policy":
            config.keys.policy, config.packs_dir = self.base.keys.policy, self.base.packs_dir
        elif role == "teacher":
            config.keys.teacher = self.base.keys.teacher
            config.teachers.extend(self.base.teachers)
        else:
            config.keys.jobs, config.keys.trainer = self.base.keys.jobs, self.base.keys.trainer
            for peer in ("teacher", "policy"):
                setattr(config.peers, peer, f"127.0.0.1:{self.ports[peer]}")
        return config

    def _write_config(self, role, config=None):
        path = self.work / f"{role}.yaml"
        # JSON is YAML too; names as in the .proto file.
        path.write_text(json_format.MessageToJson(config or self.role_config(role), preserving_proto_field_name=True))
        (self.work / "data").mkdir(mode=0o700, exist_ok=True)
        return path

    def launch(self, role, config=None):
        """Starts the process of a role and returns it; does not wait for it to serve."""
        if config is not None:
            self._write_config(role, config)
        return self._spawn(role, "--roles", role)

    def _spawn(self, name, *arguments):
        with open(self.work / f"{name}.log", "ab") as log:
            return subprocess.Popen([self.bin / "retortd", "--config", self.configs[name], *arguments],
                                    stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def start(self, role, config=None):
        assert role not in self.processes
        process = self.launch(role, config)
        self.processes[role] = process
        return process

    def await_serving(self, role):
        process = self.processes[role]

        def ready():
            assert process.poll() is None, f"{role} ended with {process.returncode}:\n{self.log_tail(role)}"
            try:
                with socket.create_connection(("127.0.0.1", self.ports[role]), timeout=1):
                    return True
            except OSError:
                return False

        wait_until(f"{role} serves", START_SECONDS, ready)
        grpc.channel_ready_future(self.channels[role]).result(timeout=START_SECONDS)

    def start_all(self):
        for role in ROLES:
            self.start(role)
        for role in ROLES:
            self.await_serving(role)

    def start_together(self, gateway=False, reflection=False):
        """One process with all roles on the data of the four; returns its address. Its name for kill() is "all". With
        `gateway` it has the HTTP gateway too, on ports["gateway"]."""
        config = self.stubs.server_config.ServerConfig()
        config.CopyFrom(self.base)
        config.data_dir, config.reflection = str(self.work / "data"), reflection
        config.listen = f"127.0.0.1:{free_port()}"
        config.gateway_listen = ""  # that of --dev
        if gateway:
            self.ports["gateway"] = free_port()
            config.gateway_listen = f"127.0.0.1:{self.ports['gateway']}"
        self.configs["all"] = self.work / "all.yaml"
        self._write_config("all", config)
        self.ports["all"] = int(config.listen.rsplit(":", 1)[1])
        self.processes["all"] = self._spawn("all")
        tls = config.tls
        self.channels["all"] = retort_client.connect(config.listen, tls.certificate, tls.private_key, tls.authorities)
        self.await_serving("all")
        return config.listen

    def kill(self, role):
        """SIGKILL; returns when the process is gone."""
        process = self.processes.pop(role, None)
        if process is not None:
            process.kill()
            process.wait()

    def trainer_pids(self):
        """Processes of retort-train whose parent is the jobs role."""
        jobs = self.processes.get("jobs")
        pids = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or jobs is None:
                continue
            try:
                name, rest = (entry / "stat").read_text().rsplit(")", 1)
            except OSError:
                continue
            if int(rest.split()[1]) == jobs.pid and "retort-train" in name:
                pids.append(int(entry.name))
        return pids

    def kill_trainer(self):
        """True when there was one."""
        pids = self.trainer_pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def log_tail(self, role, size=2000):
        path = self.work / f"{role}.log"
        return path.read_text(errors="replace")[-size:] if path.exists() else ""

    # What a client does; calls wait for a server that is restarting.

    def create_job(self, spec, job_id):
        request = self.stubs.jobs.CreateJobRequest(parent=PROJECT, spec=spec, job_id=job_id, request_id=str(uuid.uuid4()))
        return self.jobs.CreateJob(request, timeout=START_SECONDS, wait_for_ready=True)

    @staticmethod
    def _read(call):
        """Reads may be repeated: the connection to a server that was killed breaks on its next use."""
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def get_job(self, name):
        request = self.stubs.jobs.GetJobRequest(name=name)
        return self._read(lambda: self.jobs.GetJob(request, timeout=START_SECONDS, wait_for_ready=True))

    def entries(self, kind=0):
        """All entries of the project's log; none before the first append makes it."""
        found, token = [], ""
        while True:
            try:
                request = self.stubs.ledger.ListEntriesRequest(parent=f"{PROJECT}/ledgers/main", page_size=200,
                                                               page_token=token, kind=kind)
                page = self._read(lambda: self.ledger.ListEntries(request, timeout=START_SECONDS, wait_for_ready=True))
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.NOT_FOUND:
                    return []
                raise
            found.extend(page.entries)
            token = page.next_page_token
            if not token:
                return found

    def state_name(self, job):
        return self.stubs.jobs.Job.State.Name(job.state).removeprefix("STATE_")

    def await_state(self, name, states, seconds):
        """The job, once it is in one of the states; fails when it ends in another."""
        seen = {}

        def reached():
            try:
                job = seen["job"] = self.get_job(name)
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    return False
                raise
            state = self.state_name(job)
            assert state in states or state not in ("SUCCEEDED", "FAILED", "CANCELLED"), (
                f"{name} is {state}: {job.state_reason}: {job.state_message}")
            return state in states

        wait_until(f"{name} becomes {' or '.join(states)}", seconds, reached)
        return seen["job"]

    def retort(self, *arguments, check=True):
        """Runs the command line against this cluster's jobs or ledger, whichever `server` the arguments name."""
        return subprocess.run([self.bin / "retort", *arguments], check=check, capture_output=True, text=True, timeout=120)


def make_spec(stubs, prompts, teacher="embedded", extract_only=False, concurrency=4, max_tokens=16, top_logprobs=8):
    """A small job that the shipped packs allow for SmolLM2; every fourth prompt is held out."""
    spec = stubs.job_spec.JobSpec(teacher=teacher, prompt_licence="own", extract_only=extract_only, concurrency=concurrency)
    purpose = spec.purpose
    purpose.kind, purpose.use, purpose.name, purpose.base_model = "general_llm", "commercial", "e2e-student", ""
    purpose.distributed = purpose.hosted = purpose.sold = False
    purpose.competition.declared_by = "an end-to-end test"
    purpose.monthly_active_users = 0
    for number, text in enumerate(prompts):
        spec.prompts.add(id=f"p{number}", text=text, split="held_out" if number % 4 == 3 else "train")
    spec.sampling.top_p, spec.sampling.seed = 1, 1
    spec.sampling.max_tokens, spec.sampling.top_logprobs = max_tokens, top_logprobs
    if not extract_only:
        spec.student.name, spec.student.shape = "e2e-student", "unit"
        training = spec.training
        training.steps, training.batch_tokens, training.sequence_length = 30, 128, 64
        training.learning_rate, training.warmup_steps, training.cross_entropy_weight = 0.002, 2, 0.2
        training.checkpoint_every, training.seed = 3, 5
    return spec

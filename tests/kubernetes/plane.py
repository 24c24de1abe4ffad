"""A Kubernetes control plane on loopback, of the programs that build.sh makes: no containers, no root.

    with Plane(programs, work) as plane:
        plane.start()                       # etcd, API server, controllers, scheduler, kwok
        plane.nodes(3, gpus=8)              # nodes that are only objects; kwok plays their pods
        plane.start_kueue()
        plane.kubectl("get", "nodes")
        plane.stop("kube-apiserver")        # and start_apiserver() brings it back

Pods run nowhere: kwok moves them to Running, Ready and Succeeded, or to Failed with an exit code where labels say so.
Everything ends with the process that made it. By hand, for trying things out:

    tests/kubernetes/plane.py [--kueue] [--nodes 2] -- bash     # with KUBECONFIG set, until that program ends
"""

import argparse
import base64
import ctypes
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import yaml

HERE = pathlib.Path(__file__).resolve().parent
PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kueue")
READY_SECONDS = 120  # on a busy machine; an idle one takes ten


class Failure(AssertionError):
    """What a command printed when it should not have, or did not print when it should."""


def programs():
    """Folder with the built programs; builds what is missing. Ends the process with build.sh's message when it cannot."""
    built = subprocess.run([HERE / "build.sh"], stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        sys.exit(built.returncode)
    return pathlib.Path(built.stdout.strip())


def wait_until(what, condition, seconds=READY_SECONDS):
    """Polls until `condition()` returns something true and returns that."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.2)


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class Plane:
    def __init__(self, programs_folder, work):
        self.bin = pathlib.Path(programs_folder)
        self.work = pathlib.Path(work)
        self.work.mkdir(parents=True, exist_ok=True)
        self.processes = {}
        names = ("etcd", "etcd-peer", "api", "controllers", "scheduler", "kwok", "kueue-health", "kueue-metrics", "kueue-webhook")
        self.port = dict(zip(names, _free_ports(len(names))))
        self.server = f"https://127.0.0.1:{self.port['api']}"
        self.kubeconfig = self.work / "kubeconfig"
        self.authorities = self.work / "pki" / "apiserver.crt"
        self.environment = dict(os.environ, KUBECONFIG=str(self.kubeconfig), HELM_CACHE_HOME=str(self.work / "helm"),
                                HELM_CONFIG_HOME=str(self.work / "helm"), HELM_DATA_HOME=str(self.work / "helm"),
                                PATH=f"{self.bin}:{os.environ['PATH']}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in reversed(PARTS):
            self.stop(name)

    # Programs

    def _start(self, name, *arguments):
        assert name not in self.processes
        with open(self.work / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen([self.bin / name, *map(str, arguments)], stdout=log, stderr=log,
                                                    stdin=subprocess.DEVNULL, cwd=self.work, env=self.environment,
                                                    preexec_fn=_die_with_parent)

    def _await(self, name, ready):
        def check():
            if self.processes[name].poll() is not None:
                tail = (self.work / f"{name}.log").read_text(errors="replace")[-2000:]
                raise Failure(f"{name} ended with {self.processes[name].returncode}:\n{tail}")
            return ready()
        wait_until(f"{name} is ready", check)

    def stop(self, name):
        process = self.processes.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=3)  # an API server with open watches would take a minute
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def start(self):
        self._write_credentials()
        self._start("etcd", "--name", "k", "--data-dir", self.work / "etcd", "--log-level", "warn", "--unsafe-no-fsync",
                    *self._etcd_urls())
        self._await("etcd", lambda: _answers(self.port["etcd"]))
        self.start_apiserver()
        self._start("kube-controller-manager", "--kubeconfig", self.kubeconfig, "--bind-address", "127.0.0.1",
                    "--secure-port", self.port["controllers"], "--cert-dir", self.work / "controllers", "--leader-elect=false",
                    "--service-account-private-key-file", self.work / "pki" / "sa.key", "--root-ca-file", self.authorities,
                    "--authentication-skip-lookup", "--kube-api-qps", "500", "--kube-api-burst", "1000",
                    # Nodes are only objects, and no kubelet takes back that a pod is not ready.
                    "--node-monitor-grace-period", "24h")
        self._start("kube-scheduler", "--kubeconfig", self.kubeconfig, "--bind-address", "127.0.0.1",
                    "--secure-port", self.port["scheduler"], "--cert-dir", self.work / "scheduler", "--leader-elect=false",
                    "--authentication-skip-lookup", "--kube-api-qps", "500", "--kube-api-burst", "1000")
        self.pod_log = self.work / "pod.log"
        self.write_pod_log("a line of a pod")
        logs = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "ClusterLogs", "metadata": {"name": "all"},
                "spec": {"logs": [{"logsFile": str(self.pod_log), "follow": False}]}}
        (self.work / "kwok.yaml").write_text((self.bin / "kwok-stages.yaml").read_text() + "\n---\n" + json.dumps(logs))
        self._start("kwok", "--kubeconfig", self.kubeconfig, "--config", self.work / "kwok.yaml", "--manage-all-nodes=true",
                    "--node-ip", "127.0.0.1", "--cidr", "10.244.0.0/16", "--server-address", f"127.0.0.1:{self.port['kwok']}",
                    "--node-port", self.port["kwok"])
        self._await("kube-controller-manager", lambda: self.ask("get", "serviceaccount", "default") is not None)

    def _etcd_urls(self):
        client, peer = f"http://127.0.0.1:{self.port['etcd']}", f"http://127.0.0.1:{self.port['etcd-peer']}"
        return ("--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", f"k={peer}")

    def _write_credentials(self):
        pki = self.work / "pki"
        pki.mkdir(mode=0o700, exist_ok=True)
        subprocess.run(["openssl", "genrsa", "-out", pki / "sa.key", "2048"], check=True, capture_output=True)
        self.token = secrets.token_hex(24)
        (pki / "tokens.csv").write_text(f"{self.token},admin,admin,system:masters\n")
        for path in pki.iterdir():
            path.chmod(0o600)

    def start_apiserver(self):
        pki = self.work / "pki"
        self._start("kube-apiserver", "--etcd-servers", f"http://127.0.0.1:{self.port['etcd']}", "--bind-address", "127.0.0.1",
                    "--advertise-address", "127.0.0.1", "--secure-port", self.port["api"], "--endpoint-reconciler-type", "none",
                    "--cert-dir", pki, "--token-auth-file", pki / "tokens.csv", "--authorization-mode", "Node,RBAC",
                    "--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", pki / "sa.key",
                    "--service-account-signing-key-file", pki / "sa.key", "--service-cluster-ip-range", "10.96.0.0/16",
                    "--allow-privileged=true")
        self._await("kube-apiserver", self.authorities.exists)
        self.write_kubeconfig(self.kubeconfig, self.token)
        self._await("kube-apiserver", lambda: self.ask("get", "--raw", "/readyz") is not None)

    def write_kubeconfig(self, path, token, namespace="default"):
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "k",
            "clusters": [{"name": "k", "cluster": {"server": self.server, "certificate-authority": str(self.authorities)}}],
            "users": [{"name": "k", "user": {"token": token}}],
            "contexts": [{"name": "k", "context": {"cluster": "k", "user": "k", "namespace": namespace}}]}))
        path.chmod(0o600)

    def start_kueue(self):
        """Kueue's objects from its own manifests, its controller as a process."""
        certificates = self.work / "kueue-certificates"
        certificates.mkdir()
        (self.work / "kueue.yaml").write_text(json.dumps({
            "apiVersion": "config.kueue.x-k8s.io/v1beta2", "kind": "Configuration", "namespace": "kueue-system",
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self.port['kueue-health']}"},
            "metrics": {"bindAddress": f"127.0.0.1:{self.port['kueue-metrics']}"},
            "webhook": {"host": "127.0.0.1", "port": self.port["kueue-webhook"], "certDir": str(certificates)},
            "leaderElection": {"leaderElect": False}, "clientConnection": {"qps": 300, "burst": 500},
            "integrations": {"frameworks": ["batch/job"]}}))
        rendered = self.run("kubectl", "kustomize", self.bin / "kueue-config" / "default")
        objects = [self._for_a_process(one) for one in yaml.safe_load_all(rendered)]
        self.apply([one for one in objects if one], "--server-side", "--force-conflicts")
        self._start("kueue", "--config", self.work / "kueue.yaml", "--feature-gates", "VisibilityOnDemand=false")

        # The controller keeps its certificate in a Secret, which a kubelet would mount.
        def mounted():
            secret = self.ask("-n", "kueue-system", "get", "secret", "kueue-webhook-server-cert", "-o", "json")
            for name, value in ((json.loads(secret).get("data") or {}) if secret else {}).items():
                new = certificates / f".{name}"
                new.write_bytes(base64.b64decode(value))
                new.rename(certificates / name)
            return _answers(self.port["kueue-webhook"])
        self._await("kueue", mounted)

    def _for_a_process(self, one):
        """What a controller outside the cluster needs of its manifests: no pods, no aggregated API, webhooks on loopback."""
        kind, name = one["kind"], one["metadata"]["name"]
        if kind in ("Deployment", "APIService") or name == "kueue-visibility-server":
            return None
        if kind == "Service" and name == "kueue-webhook-service":
            one["spec"] = {"type": "ExternalName", "externalName": "localhost"}
        webhooks = list(one.get("webhooks", []))
        if kind == "CustomResourceDefinition" and one["spec"].get("conversion", {}).get("webhook"):
            webhooks.append(one["spec"]["conversion"]["webhook"])
        for webhook in webhooks:
            webhook["clientConfig"]["service"]["port"] = self.port["kueue-webhook"]
        return one

    def write_pod_log(self, *lines):
        """What the log of every pod says, from the beginning, in the form of container runtimes."""
        self.pod_log.write_text("".join(f"2026-01-31T00:00:{number:02}.000000000Z stdout F {line}\n" for number, line in enumerate(lines)))

    def nodes(self, count, gpus):
        resources = {"cpu": "32", "memory": "256Gi", "pods": "110", "nvidia.com/gpu": str(gpus)}
        self.apply([{"apiVersion": "v1", "kind": "Node",
                     "metadata": {"name": f"node-{i}", "annotations": {"kwok.x-k8s.io/node": "fake"},
                                  "labels": {"kubernetes.io/hostname": f"node-{i}", "kubernetes.io/os": "linux",
                                             "topology.kubernetes.io/zone": f"zone-{i % 2}"}},
                     "status": {"capacity": resources, "allocatable": resources}} for i in range(count)])
        self.kubectl("wait", "--for=condition=Ready", "node", "--all", f"--timeout={READY_SECONDS}s")

    def disks(self, count):
        """Volumes for claims without a class: nothing makes any here."""
        self.apply([{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"disk-{i}"},
                     "spec": {"capacity": {"storage": "1Ti"}, "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                              "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": f"/disks/{i}"}}}
                    for i in range(count)])

    # Commands

    def run(self, program, *arguments, stdin=None, environment=None):
        """Standard output of one of the plane's programs; Failure with what it said when it fails."""
        done = subprocess.run([self.bin / program, *map(str, arguments)], input=stdin, text=True, capture_output=True,
                              env=environment or self.environment, timeout=600)
        if done.returncode != 0:
            raise Failure(f"{program} {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}{done.stdout[-2000:]}")
        return done.stdout

    def kubectl(self, *arguments, stdin=None):
        return self.run("kubectl", *arguments, stdin=stdin)

    def helm(self, *arguments):
        return self.run("helm", *arguments)

    def ask(self, *arguments):
        """kubectl's output, or None when it fails."""
        try:
            return self.kubectl(*arguments)
        except Failure:
            return None

    def get(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, objects, *arguments):
        return self.kubectl("apply", *arguments, "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def token_of(self, namespace, service_account):
        return self.kubectl("-n", namespace, "create", "token", service_account, "--duration=1h").strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kueue", action="store_true", help="also Kueue's controller")
    parser.add_argument("--nodes", type=int, default=2, help="nodes of 8 GPUs each")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run beside it, after --")
    arguments = parser.parse_args()
    command = [one for one in arguments.command if one != "--"] or ["bash"]
    work = tempfile.mkdtemp(prefix="retort-plane-")
    try:
        with Plane(programs(), work) as plane:
            plane.start()
            plane.nodes(arguments.nodes, gpus=8)
            plane.disks(12)
            if arguments.kueue:
                plane.start_kueue()
            return subprocess.run(command, env=plane.environment).returncode
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

"""`make test-kubernetes`: the chart, the Kustomize tree and the launcher's rights on a real control plane.

    python3 tests/kubernetes/kubernetes_test.py --bin build/release/bin [--only rights,queue]

One line a check; exit status 1 when any failed. The control plane is tests/kubernetes/plane.py.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import yaml

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "deploy"))
import manifest  # noqa: E402
import rendered  # noqa: E402
from plane import Failure, Plane, programs, wait_until  # noqa: E402

CHART = REPOSITORY / "deploy" / "helm" / "retort"
VALUES = REPOSITORY / "deploy" / "helm" / "values"
KUSTOMIZE = REPOSITORY / "deploy" / "kustomize"
COMPONENTS = ("cert-manager", "gpu", "kueue", "monitoring")
# What each tree of Kustomize prints, Helm prints with these values: (name, namespace, values files, kustomization).
PAIRS = [("base", "retort", [], {"resources": ["base"]}),
         *((name, "retort", [name], {"resources": ["base"], "components": [f"components/{name}"]}) for name in COMPONENTS),
         ("all components", "retort", list(COMPONENTS),
          {"resources": ["base"], "components": [f"components/{name}" for name in COMPONENTS]}),
         ("dev", "retort-dev", ["dev"], {"resources": ["overlays/dev"]}),
         ("prod", "retort", ["prod"], {"resources": ["overlays/prod"]})]
# kwok waits for the whole grace of a pod, which a process that ends by itself does not need.
BRIEF = [part for role in manifest.ROLES for part in ("--set", f"roles.{role}.terminationGracePeriodSeconds=15")]
CONTAINER = {"name": "trainer", "image": "retort:test", "command": ["retort-train"],
             "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}}
POD_SECURITY = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}


class Checks:
    def __init__(self, plane, binaries):
        self.plane, self.binaries, self.failed = plane, binaries, 0

    def check(self, what, function):
        begin = time.monotonic()
        try:
            function()
            print(f"ok      {what} ({time.monotonic() - begin:.1f} s)", flush=True)
        except (AssertionError, OSError, subprocess.SubprocessError, KeyError, ValueError) as error:
            self.failed += 1
            print(f"FAILED  {what} ({time.monotonic() - begin:.1f} s)\n        " +
                  f"{type(error).__name__}: {error}".replace("\n", "\n        "), flush=True)

    # Rendering

    def helm_template(self, values, namespace, *arguments):
        files = [part for name in values for part in ("-f", VALUES / f"{name}.yaml")]
        return self.plane.helm("template", "retort", CHART, "--namespace", namespace, *files, *arguments)

    def kustomize(self, kustomization, namespace):
        """Prints a kustomization over the tree; kustomize wants it to lie in a folder beside what it names."""
        with tempfile.TemporaryDirectory(dir=KUSTOMIZE, prefix=".test-") as folder:
            there = {key: [f"../{name}" for name in names] for key, names in kustomization.items()}
            (pathlib.Path(folder) / "kustomization.yaml").write_text(json.dumps(dict(there, namespace=namespace)))
            return self.plane.kubectl("kustomize", folder)

    def render(self):
        self.check("helm lint", lambda: [self.plane.helm("lint", "--strict", CHART, *(("-f", VALUES / f"{name}.yaml") if name else ()))
                                         for name in ("", "dev", "prod", *COMPONENTS)])
        for name, namespace, values, kustomization in PAIRS:
            def same():
                ours = rendered.parse(self.helm_template(values, namespace))
                theirs = rendered.parse(self.kustomize(kustomization, namespace))
                assert len(ours) > 20, f"{len(ours)} objects"
                found = list(rendered.differences(ours, theirs))
                assert not found, "\n".join(found)
            self.check(f"helm and kustomize print the same objects: {name}", same)

            def good():
                found = [one for one in manifest.findings(rendered.parse(self.helm_template(values, namespace)))
                         if name != "dev" or "replicas; wanted 2 or more" not in one and "no PodDisruptionBudget" not in one]
                assert not found, "\n".join(found)
            self.check(f"they are what they should be: {name}", good)
        self.check("a single difference is noticed", self.difference_noticed)
        self.check("another role is a values entry", self.another_role)
        self.check("bad values are refused, with the value", self.bad_values)
        self.check("the server reads every rendered configuration", self.configurations)

    def difference_noticed(self):
        ours = rendered.parse(self.helm_template([], "retort"))
        for change in (lambda one: one["spec"]["template"]["spec"].update(terminationGracePeriodSeconds=1),
                       lambda one: one["spec"]["template"]["spec"]["containers"][0]["args"].append("--dev"),
                       lambda one: one["metadata"]["labels"].pop("app.kubernetes.io/version")):
            theirs = json.loads(json.dumps(ours))
            change(next(one for one in theirs if manifest.name_of(one) == "StatefulSet retort-ledger"))
            assert len(list(rendered.differences(ours, theirs))) == 1
        assert list(rendered.differences(ours, ours[:-1]))

    def another_role(self):
        objects = rendered.parse(self.helm_template([], "retort", "--set-json", 'roles.gateway={"calls":["jobs","ledger"],"replicas":3}'))
        names = {manifest.name_of(one) for one in objects}
        for wanted in ("Deployment retort-gateway", "Service retort-gateway", "PodDisruptionBudget retort-gateway",
                       "NetworkPolicy retort-gateway", "ServiceAccount retort-gateway", "ConfigMap retort-gateway-config"):
            assert wanted in names, wanted
        found = [one for one in manifest.findings(objects)]
        assert not found, found
        ledger = next(one for one in objects if manifest.name_of(one) == "NetworkPolicy retort-ledger")
        assert any(peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/component") == "gateway"
                   for peer in ledger["spec"]["ingress"][0]["from"]), "the ledger does not let the gateway in"

    def bad_values(self):
        for setting, word in (("roles.ledger.replicas=2", "replicas"), ("roles.jobs.stateful=false", "stateful"), ("imagee.tag=1", "imagee"),
                              ("image.digest=latest", "digest"), ("backup.keep=0", "keep"), ("training.launcher=slurm", "launcher")):
            try:
                self.helm_template([], "retort", "--set", setting)
            except Failure as refusal:
                assert word in str(refusal) and "schema" in str(refusal), refusal
            else:
                raise Failure(f"--set {setting} is accepted")

    def configurations(self):
        if self.binaries is None:
            raise Failure("no programs: --bin")
        for name, namespace, values, _ in PAIRS:
            for one in rendered.parse(self.helm_template(values, namespace)):
                if one["kind"] != "ConfigMap" or not one["metadata"]["name"].endswith("-config"):
                    continue
                role = one["metadata"]["labels"]["app.kubernetes.io/component"]
                with tempfile.TemporaryDirectory() as folder:
                    for file, text in one["data"].items():
                        (pathlib.Path(folder) / file).write_text(text)
                    done = subprocess.run([self.binaries / "retortd", "--config", folder, "--roles", role, "--print-config"],
                                          capture_output=True, text=True, timeout=60)
                    assert done.returncode == 0, f"{name}, {role}: {done.stderr}"

    # Admission

    def namespace(self, name):
        self.plane.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}])
        wait_until("the service account of the namespace", lambda: self.plane.ask("-n", name, "get", "serviceaccount", "default"))

    def refused(self, words, *arguments, stdin=None):
        try:
            self.plane.kubectl(*arguments, stdin=stdin)
        except Failure as refusal:
            assert words in str(refusal), refusal
        else:
            raise Failure(f"accepted: kubectl {' '.join(map(str, arguments))}")

    def admission(self):
        self.check("definitions of cert-manager and Prometheus", self.definitions)
        self.namespace("tight")
        self.check("a namespace of the restricted level refuses a bad pod", self.bad_pods)
        for name, namespace, values, kustomization in PAIRS:
            def admitted():
                self.namespace(namespace)
                for text in (self.helm_template(values, namespace), self.kustomize(kustomization, namespace)):
                    self.plane.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
                self.plane.kubectl("apply", "--validate=strict", "-f", "-", stdin=text)
                wanted = {one["metadata"]["name"] for one in rendered.parse(text) if one["kind"] in ("Deployment", "StatefulSet")}
                wait_until("pods of every role", lambda: wanted <= {
                    one["metadata"]["name"].rsplit("-", 1)[0].removesuffix(one["metadata"]["labels"].get("pod-template-hash", "-")).rstrip("-")
                    for one in self.plane.get("-n", namespace, "pods")["items"]})
                warnings = [one["message"] for one in self.plane.get("-n", namespace, "events")["items"]
                            if one["reason"] == "FailedCreate"]
                assert not warnings, warnings
                self.plane.kubectl("delete", "-f", "-", "--wait=false", "--ignore-not-found", stdin=text)
                # Their grace is minutes, which kwok waits for like a kubelet.
                self.plane.kubectl("-n", namespace, "delete", "pods", "--all", "--force", "--grace-period=0")
                self.plane.kubectl("delete", "namespace", namespace, "--timeout=120s")
            self.check(f"admitted, and its pods made, where the level is restricted: {name}", admitted)

    def definitions(self):
        files = subprocess.run([HERE / "definitions.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        for file in files:
            self.plane.kubectl("apply", "--server-side", "-f", file)
        self.plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")

    def bad_pods(self):
        template = next(one for one in rendered.parse(self.helm_template([], "tight")) if manifest.name_of(one) == "Deployment retort-teacher")
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "tight"},
               "spec": dict(template["spec"]["template"]["spec"], serviceAccountName="default")}
        text = json.dumps(pod)
        self.plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text)
        for change in (lambda spec: spec["containers"][0]["securityContext"].update(privileged=True, allowPrivilegeEscalation=True),
                       lambda spec: spec["securityContext"].update(runAsNonRoot=False),
                       lambda spec: spec["containers"][0]["securityContext"].pop("capabilities"),
                       lambda spec: spec["securityContext"].pop("seccompProfile"),
                       lambda spec: spec.update(hostNetwork=True),
                       lambda spec: spec["volumes"].append({"name": "node", "hostPath": {"path": "/"}})):
            bad = json.loads(text)
            change(bad["spec"])
            self.refused('violates PodSecurity "restricted', "apply", "--dry-run=server", "-f", "-", stdin=json.dumps(bad))

    # A release

    def release(self):
        self.check("one command installs it until every role is ready", self.install)
        self.check("a second run of the command changes no key", self.install_again)
        self.check("a changed configuration makes new pods", self.upgrade)
        self.check("rollback brings the old ones back", self.rollback)
        self.check("a backup runs on the ledger's node, a restore never by itself", self.backup_job)
        self.check("rights of the launcher", self.rights)
        self.check("uninstalling keeps disks, keys and certificates", self.uninstall)

    def setup(self, *arguments):
        done = subprocess.run([REPOSITORY / "deploy" / "setup" / "kubernetes.sh", *map(str, arguments)], capture_output=True, text=True,
                              env=dict(self.plane.environment, RETORT=str(self.binaries / "retort")), timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self):
        printed = self.setup("--", "--wait", "--timeout", "3m", *BRIEF)
        assert "STATUS: deployed" in printed and "port-forward" in printed, printed
        pods = self.plane.get("-n", "retort", "pods")["items"]
        ready = [one["metadata"]["labels"]["app.kubernetes.io/component"] for one in pods
                 if any(c["type"] == "Ready" and c["status"] == "True" for c in one["status"]["conditions"])]
        assert sorted(ready) == ["jobs", "ledger", "policy", "teacher", "teacher"], ready
        secrets = {one["metadata"]["name"]: one for one in self.plane.get("-n", "retort", "secrets")["items"]}
        for role in (*manifest.ROLES, "trainer"):
            assert set(secrets[f"retort-{role}-tls"]["data"]) == {"tls.crt", "tls.key", "ca.crt"}, role
        assert set(secrets["retort-ledger-keys"]["data"]) == {"log.key", "vault.key"}
        assert secrets["retort-trainer-keys"]["data"]["trainer.key"] == secrets["retort-jobs-keys"]["data"]["trainer.key"]
        keys = self.plane.get("-n", "retort", "configmap", "retort-public-keys")["data"]
        assert set(keys) == {f"{role}.vkey" for role in ("log", *manifest.ROLES, "reviewer", "trainer")} - {"ledger.vkey"}, set(keys)

    def install_again(self):
        before = {one["metadata"]["name"]: one.get("data") for one in self.plane.get("-n", "retort", "secrets")["items"]
                  if not one["metadata"]["name"].startswith("sh.helm")}
        printed = self.setup("--", "--wait", "--timeout", "3m", *BRIEF)
        assert "made" not in printed and "kept" in printed, printed
        after = {one["metadata"]["name"]: one.get("data") for one in self.plane.get("-n", "retort", "secrets")["items"]
                 if not one["metadata"]["name"].startswith("sh.helm")}
        assert before == after

    def configuration_in_use(self):
        return yaml.safe_load(self.plane.get("-n", "retort", "configmap", "retort-policy-config")["data"]["retortd.yaml"])

    def pods_of(self, component):
        return {one["metadata"]["name"] for one in self.plane.get("-n", "retort", "pods", "-l", f"app.kubernetes.io/component={component}")["items"]
                if "deletionTimestamp" not in one["metadata"]}

    def upgrade(self):
        before = self.pods_of("teacher")
        self.plane.helm("-n", "retort", "upgrade", "retort", CHART, "--set", "reflection=true", *BRIEF, "--wait", "--timeout", "3m")
        assert self.configuration_in_use().get("reflection") is True
        assert not before & self.pods_of("teacher"), "the pods of before are still there"

    def rollback(self):
        self.plane.helm("-n", "retort", "rollback", "retort", "--wait", "--timeout", "3m")
        assert "reflection" not in self.configuration_in_use()

    def backup_job(self):
        self.plane.kubectl("-n", "retort", "create", "job", "--from=cronjob/retort-backup", "now")
        self.plane.kubectl("-n", "retort", "wait", "--for=condition=complete", "job/now", "--timeout=90s")
        node = {one["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"]["nodeName"]
                for one in self.plane.get("-n", "retort", "pods")["items"]}
        assert node["backup"] == node["ledger"], node
        assert self.plane.get("-n", "retort", "cronjob", "retort-restore")["spec"]["suspend"] is True

    def uninstall(self):
        claims = {"data-retort-ledger-0", "data-retort-jobs-0", "data-retort-policy-0", "retort-runs", "retort-backup"}
        self.plane.helm("-n", "retort", "uninstall", "retort", "--wait", "--timeout", "2m")
        left = {one["metadata"]["name"] for one in self.plane.get("-n", "retort", "pvc")["items"]}
        assert left == claims, left
        assert not self.plane.get("-n", "retort", "statefulsets,deployments,cronjobs,networkpolicies")["items"]
        assert self.plane.ask("-n", "retort", "get", "secret", "retort-ledger-keys", "retort-ledger-tls")
        self.setup("--", "--wait", "--timeout", "3m", *BRIEF)  # on the same disks and keys
        self.plane.helm("-n", "retort", "uninstall", "retort", "--wait", "--timeout", "2m")

    # The launcher's rights and what training does with them

    def as_jobs(self, *arguments, stdin=None, namespace="retort"):
        """kubectl with the token of the jobs role's service account, and nothing else."""
        config = self.plane.work / "jobs.kubeconfig"
        self.plane.write_kubeconfig(config, self.plane.token_of("retort", "retort-jobs"), namespace)
        return self.plane.run("kubectl", *arguments, stdin=stdin, environment=dict(self.plane.environment, KUBECONFIG=str(config)))

    def rights(self):
        granted = {}
        for line in self.as_jobs("auth", "can-i", "--list", "--no-headers").splitlines():
            if "[/" in line or ".k8s.io" in line:
                continue  # what every account may: discovery, questions about itself
            granted[line.split()[0]] = sorted(line[line.rindex("[") + 1:line.rindex("]")].split())
        assert granted == {"jobs.batch": ["create", "delete", "list", "watch"], "pods": ["get", "list", "watch"],
                           "pods/log": ["get"]}, granted
        job = self.job("granted", 1)
        self.as_jobs("create", "-f", "-", stdin=json.dumps(job))
        self.as_jobs("get", "jobs,pods")
        self.as_jobs("delete", "job", "granted", "--wait=false")
        for namespace, words in (("retort", ("get", "secrets")), ("retort", ("get", "job", "granted")), ("retort", ("get", "configmaps")), ("retort", ("delete", "pods", "--all")),
                                 ("retort", ("get", "nodes")), ("retort", ("scale", "statefulset/retort-ledger", "--replicas=2")),
                                 ("retort", ("create", "token", "default")), ("default", ("get", "jobs")), ("kube-system", ("get", "pods"))):
            try:
                self.as_jobs(*words, namespace=namespace)
            except Failure as refusal:
                assert "forbidden" in str(refusal).lower(), refusal
            else:
                raise Failure(f"allowed in {namespace}: {words}")
        for manifest_text, namespace in ((json.dumps(dict(job, metadata={"name": "elsewhere"})), "default"),
                                         (json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                                                      "spec": job["spec"]["template"]["spec"]}), "retort")):
            try:
                self.as_jobs("create", "-f", "-", stdin=manifest_text, namespace=namespace)
            except Failure as refusal:
                assert "forbidden" in str(refusal).lower(), refusal
            else:
                raise Failure(f"created in {namespace}: {manifest_text}")
        for role in ("ledger", "policy", "teacher", "trainer", "backup"):
            assert self.plane.ask("auth", "can-i", "get", "pods", "-n", "retort", f"--as=system:serviceaccount:retort:retort-{role}") is None, role

    def job(self, name, ranks, labels=None, annotations=None, gpus=0, queue=None, **spec):
        pod_labels = dict({"app.kubernetes.io/name": "retort", "app.kubernetes.io/component": "trainer"}, **(labels or {}))
        container = dict(CONTAINER, resources={"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {})
        return {"apiVersion": "batch/v1", "kind": "Job",
                "metadata": {"name": name, "labels": {"kueue.x-k8s.io/queue-name": queue} if queue else {}},
                "spec": dict({"completions": ranks, "parallelism": ranks, "completionMode": "Indexed", "backoffLimit": 0,
                              "suspend": bool(queue),
                              "template": {"metadata": {"labels": pod_labels, "annotations": annotations or {}},
                                           "spec": {"restartPolicy": "Never", "automountServiceAccountToken": False,
                                                    "securityContext": POD_SECURITY, "containers": [container]}}}, **spec)}

    def training(self):
        self.namespace("retort")
        self.plane.kubectl("apply", "-n", "retort", "-f", "-", stdin=self.helm_template(["kueue", "gpu"], "retort"))
        self.check("an Indexed Job of four ranks, made with the launcher's rights, succeeds", self.succeeds)
        self.check("one fails with the exit code of its rank", self.fails)
        self.check("one is cancelled, and its pods go", self.cancelled)
        self.check("a run of 8 GPUs waits in Kueue's queue behind another, and follows it", self.waits)
        self.check("a program with the launcher's token and nothing else reaches the server", self.hook)

    def await_job(self, name, condition):
        self.plane.kubectl("-n", "retort", "wait", f"--for=condition={condition}", f"job/{name}", "--timeout=90s")

    def succeeds(self):
        self.as_jobs("create", "-f", "-", stdin=json.dumps(self.job("four", 4)))
        self.await_job("four", "complete")
        pods = json.loads(self.as_jobs("get", "pods", "-l", "job-name=four", "-o", "json"))["items"]
        ranks = sorted(one["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] for one in pods)
        assert ranks == ["0", "1", "2", "3"], ranks
        assert self.as_jobs("logs", pods[0]["metadata"]["name"]) == "a line of a pod\n"

    def fails(self):
        stage = "pod-container-running-failed.stage.kwok.x-k8s.io"
        self.as_jobs("create", "-f", "-", stdin=json.dumps(self.job("sour", 1, labels={stage: "true"}, annotations={
            f"{stage}/exit-code": "4", f"{stage}/delay": "200ms", f"{stage}/jitter-delay": "200ms"})))
        self.await_job("sour", "failed")
        pod = json.loads(self.as_jobs("get", "pods", "-l", "job-name=sour", "-o", "json"))["items"][0]
        code = pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
        assert code == 4, code

    def cancelled(self):
        slow = {"pod-complete.stage.kwok.x-k8s.io/delay": "10m", "pod-complete.stage.kwok.x-k8s.io/jitter-delay": "10m"}
        self.as_jobs("create", "-f", "-", stdin=json.dumps(self.job("slow", 2, annotations=slow)))

        def running():
            pods = json.loads(self.as_jobs("get", "pods", "-l", "job-name=slow", "-o", "json"))["items"]
            return len(pods) == 2 and all(one["status"]["phase"] == "Running" for one in pods)
        wait_until("both ranks run", running)
        self.as_jobs("delete", "job", "slow", "--cascade=foreground", "--wait=false")
        wait_until("the pods are gone", lambda: not json.loads(
            self.as_jobs("get", "pods", "-l", "job-name=slow", "-o", "json"))["items"])

    def waits(self):
        some = {"pod-complete.stage.kwok.x-k8s.io/delay": "6s", "pod-complete.stage.kwok.x-k8s.io/jitter-delay": "6s"}
        for name in ("first", "second"):
            self.as_jobs("create", "-f", "-", stdin=json.dumps(self.job(name, 8, annotations=some, gpus=1, queue="training")))
            if name == "first":
                wait_until("the first is let in", lambda: not self.plane.get("-n", "retort", "job", "first")["spec"]["suspend"])
        time.sleep(1)
        second = json.loads(self.as_jobs("get", "jobs", "--field-selector=metadata.name=second", "-o", "json"))["items"][0]
        assert second["spec"]["suspend"] is True, "the second was let in beside the first"
        workloads = json.loads(self.as_jobs("get", "workloads.kueue.x-k8s.io", "-o", "json"))["items"]
        assert any("insufficient" in condition.get("message", "") for one in workloads
                   for condition in one.get("status", {}).get("conditions", [])), "nothing says why it waits"
        self.await_job("first", "complete")
        self.await_job("second", "complete")

    def hook(self):
        """as_service_account.sh, which runs any program so: what drives the launcher itself."""
        script = ('kubectl --kubeconfig /dev/null --server "$RETORT_KUBERNETES_URL" --certificate-authority '
                  '"$RETORT_KUBERNETES_AUTHORITIES" --token "$(cat "$RETORT_KUBERNETES_TOKEN_FILE")" get --raw '
                  '"/apis/batch/v1/namespaces/$RETORT_KUBERNETES_NAMESPACE/jobs"')
        done = subprocess.run([HERE / "as_service_account.sh", "retort", "retort-jobs", "bash", "-c", script],
                              env=self.plane.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["kind"] == "JobList"


PARTS = ("render", "admission", "release", "training")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of the built retortd and retort")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if not set(chosen) <= set(PARTS):
        parser.error(f"--only {arguments.only}: wanted some of {','.join(PARTS)}")
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="retort-kubernetes-") as work, Plane(programs(), work) as plane:
        checks = Checks(plane, arguments.bin.resolve())
        if chosen != ["render"]:
            plane.start()
            plane.nodes(3, gpus=8)
            plane.disks(24)
            if {"admission", "training"} & set(chosen):
                plane.start_kueue()
            print(f"        control plane {json.loads(plane.kubectl('get', '--raw', '/version'))['gitVersion']} ready in {time.monotonic() - begin:.0f} s", flush=True)
        for part in chosen:
            getattr(checks, part)()
        print(f"{checks.failed or 'no'} check(s) failed, {time.monotonic() - begin:.0f} s")
        return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())

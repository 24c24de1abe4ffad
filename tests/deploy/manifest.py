"""What a set of Kubernetes objects must be, whoever rendered them: restricted pods, whole references, one writer, edges.

Each check yields findings, one line each; none is good. Nothing here needs a tool or a server.
"""

import itertools

WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob")
LABELS = ("name", "instance", "version", "component", "part-of", "managed-by")
SELECTORS = {f"app.kubernetes.io/{one}" for one in ("name", "instance", "component")}
# Made once by deploy/setup/kubernetes.sh or by cert-manager, never by a renderer.
MADE_ELSEWHERE = ("-keys", "-tls", "-api-keys", "-public-keys")
ROLES = ("jobs", "ledger", "policy", "teacher")


def name_of(one):
    return f"{one['kind']} {one['metadata']['name']}"


def by_kind(objects, *kinds):
    return [one for one in objects if one["kind"] in kinds]


def pod_template(one):
    spec = one["spec"]
    if one["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec["template"]


def label_findings(objects):
    for one in objects:
        labels = one["metadata"].get("labels", {})
        for label in LABELS:
            if f"app.kubernetes.io/{label}" not in labels:
                yield f"{name_of(one)}: no label app.kubernetes.io/{label}"
    for one in by_kind(objects, "Deployment", "StatefulSet"):
        selector = one["spec"]["selector"]["matchLabels"]
        if set(selector) != SELECTORS:
            yield f"{name_of(one)}: selects by {sorted(selector)}; wanted {sorted(SELECTORS)}, which never change"
        if not selector.items() <= pod_template(one)["metadata"]["labels"].items():
            yield f"{name_of(one)}: its selector does not select its own pods"


def security_findings(objects):
    """The restricted level of Pod Security, and what we want beyond it."""
    for one in by_kind(objects, *WORKLOADS):
        pod = pod_template(one)["spec"]
        security = pod.get("securityContext", {})
        wanted = {"runAsNonRoot": True, "fsGroupChangePolicy": "OnRootMismatch"}
        for key, value in wanted.items():
            if security.get(key) != value:
                yield f"{name_of(one)}: {key} is {security.get(key)}; wanted {value}"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name_of(one)}: seccompProfile; wanted RuntimeDefault"
        for key in ("runAsUser", "runAsGroup", "fsGroup"):
            if not security.get(key):
                yield f"{name_of(one)}: {key} is {security.get(key)}; wanted a number that is not root's"
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(key):
                yield f"{name_of(one)}: {key}"
        token = pod.get("automountServiceAccountToken")
        if token is not (one["metadata"]["name"].endswith("-jobs")):
            yield f"{name_of(one)}: automountServiceAccountToken is {token}; only the launcher of training needs it"
        for volume in pod.get("volumes", []):
            if "hostPath" in volume:
                yield f"{name_of(one)}: mounts a path of the node"
        for container in pod.get("initContainers", []) + pod["containers"]:
            where = f"{name_of(one)}/{container['name']}"
            rights = container.get("securityContext", {})
            if rights.get("allowPrivilegeEscalation") is not False or rights.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{where}: may gain privileges"
            if rights.get("readOnlyRootFilesystem") is not True:
                yield f"{where}: can write to its root file system"
            if not any(mount["mountPath"] == "/tmp" for mount in container["volumeMounts"]):
                yield f"{where}: has no /tmp"
            resources = container.get("resources", {})
            if "memory" not in resources.get("limits", {}) or "cpu" not in resources.get("requests", {}):
                yield f"{where}: has no limit of memory or no request of cpu"


def reference_findings(objects):
    """Whatever a pod names is rendered too, or is one of the things that are made elsewhere."""
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for one in by_kind(objects, "StatefulSet"):
        for claim in one["spec"]["volumeClaimTemplates"]:
            there.add(("PersistentVolumeClaim", f"{claim['metadata']['name']}-{one['metadata']['name']}-0"))
    for one in by_kind(objects, *WORKLOADS):
        pod = pod_template(one)["spec"]
        needed = [("ServiceAccount", pod["serviceAccountName"])]
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                needed.append(("ConfigMap", volume["configMap"]["name"]))
            if "secret" in volume:
                needed.append(("Secret", volume["secret"]["secretName"]))
                if volume["secret"].get("defaultMode") != 0o440:
                    yield f"{name_of(one)}: Secret {needed[-1][1]} has mode {volume['secret'].get('defaultMode')}; wanted 0440"
            if "persistentVolumeClaim" in volume:
                needed.append(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
        for kind, name in needed:
            if (kind, name) not in there and not (kind in ("Secret", "ConfigMap") and name.endswith(MADE_ELSEWHERE)):
                yield f"{name_of(one)}: names {kind} {name}, which nobody makes"
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        if one["kind"] == "StatefulSet":
            volumes |= {claim["metadata"]["name"] for claim in one["spec"]["volumeClaimTemplates"]}
        for container in pod["containers"]:
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            for outer, inner in itertools.permutations(paths, 2):
                # The runtime makes the folders down to a mount, as root's, in the volume that they are in.
                if inner.startswith(outer + "/") and "/" in inner[len(outer) + 1:]:
                    yield f"{name_of(one)}: {inner} is deeper than one level in the volume at {outer}"
            mounted = [mount["name"] for mount in container["volumeMounts"]]
            if set(mounted) != volumes:
                yield f"{name_of(one)}: mounts {sorted(mounted)} of the volumes {sorted(volumes)}"


def workload_findings(objects):
    """One writer where there may be one, two or more elsewhere, probes everywhere."""
    budgets = {tuple(sorted(one["spec"]["selector"]["matchLabels"].items())) for one in by_kind(objects, "PodDisruptionBudget")}
    scaled = {one["spec"]["scaleTargetRef"]["name"]: one["spec"]["minReplicas"]
              for one in by_kind(objects, "HorizontalPodAutoscaler")}
    for one in by_kind(objects, "StatefulSet"):
        spec = one["spec"]
        if spec["replicas"] != 1:
            yield f"{name_of(one)}: {spec['replicas']} replicas; wanted 1: one writer"
        if spec.get("persistentVolumeClaimRetentionPolicy") != {"whenDeleted": "Retain", "whenScaled": "Retain"}:
            yield f"{name_of(one)}: its claim may go; wanted Retain"
        for claim in spec["volumeClaimTemplates"]:
            if claim["spec"]["accessModes"] != ["ReadWriteOnce"]:
                yield f"{name_of(one)}: {claim['spec']['accessModes']}; wanted ReadWriteOnce"
        if not any(other["metadata"]["name"] == spec["serviceName"] for other in by_kind(objects, "Service")):
            yield f"{name_of(one)}: no Service {spec['serviceName']}"
    for one in by_kind(objects, "Deployment"):
        spec, name = one["spec"], one["metadata"]["name"]
        if spec["strategy"]["rollingUpdate"]["maxUnavailable"] != 0:
            yield f"{name_of(one)}: maxUnavailable; wanted 0"
        if name in scaled and "replicas" in spec:
            yield f"{name_of(one)}: replicas beside an autoscaler, which they would undo"
        replicas = scaled.get(name, spec.get("replicas"))
        if replicas < 2:
            yield f"{name_of(one)}: {replicas} replicas; wanted 2 or more"
        keys = {constraint["topologyKey"] for constraint in pod_template(one)["spec"].get("topologySpreadConstraints", [])}
        if "topology.kubernetes.io/zone" not in keys:
            yield f"{name_of(one)}: is not spread over zones"
        if tuple(sorted(spec["selector"]["matchLabels"].items())) not in budgets:
            yield f"{name_of(one)}: no PodDisruptionBudget"
    for one in by_kind(objects, "Deployment", "StatefulSet"):
        pod = pod_template(one)["spec"]
        container = pod["containers"][0]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if "grpc" not in container.get(probe, {}):
                yield f"{name_of(one)}: no {probe} over grpc"
        if pod["terminationGracePeriodSeconds"] <= 10 + 5:
            yield f"{name_of(one)}: killed after {pod['terminationGracePeriodSeconds']} s; wanted more than the drain takes"


def _selects(selector, labels):
    return all(labels.get(key) == value for key, value in (selector or {}).get("matchLabels", {}).items())


def _peer_matches(peer, pod, namespaces):
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        if not _selects(peer["namespaceSelector"], namespaces[pod["namespace"]]):
            return False
    elif pod["namespace"] != "release":
        return False
    return "podSelector" not in peer or _selects(peer["podSelector"], pod["labels"])


def _allowed(policies, direction, pod, other, namespaces):
    """Whether the policies that select `pod` let it receive from, or send to, `other` on the gRPC port."""
    kind, peers_key = ("Ingress", "from") if direction == "ingress" else ("Egress", "to")
    if pod["namespace"] != "release":
        return True  # not ours to decide
    selecting = [one["spec"] for one in policies if kind in one["spec"]["policyTypes"] and
                 _selects(one["spec"]["podSelector"], pod["labels"])]
    if not selecting:
        return True
    for rule in itertools.chain.from_iterable(one.get(direction) or [] for one in selecting):
        ports = rule.get("ports")
        if ports is not None and not any(port.get("port") in ("grpc", 7443) for port in ports):
            continue
        if any(_peer_matches(peer, other, namespaces) for peer in rule[peers_key]):
            return True
    return False


def edges(objects, instance="retort"):
    """Who may open a connection to whose gRPC port, as (from, to), by the rules that a network plugin applies."""
    policies = by_kind(objects, "NetworkPolicy")
    namespaces = {"release": {"kubernetes.io/metadata.name": "retort"},
                  "friends": {"kubernetes.io/metadata.name": "friends", "retort.dev/client": "true"},
                  "strangers": {"kubernetes.io/metadata.name": "strangers"}}
    pods = {}
    for component in (*ROLES, "backup"):
        pods[component] = {"namespace": "release", "labels": {"app.kubernetes.io/name": "retort", "app.kubernetes.io/instance": instance,
                                                              "app.kubernetes.io/component": component}}
    # Made by the launcher, which knows no release.
    pods["trainer"] = {"namespace": "release", "labels": {"app.kubernetes.io/name": "retort", "app.kubernetes.io/component": "trainer"}}
    pods["neighbour"] = {"namespace": "release", "labels": {"app.kubernetes.io/name": "other"}}
    pods["friend"] = {"namespace": "friends", "labels": {}}
    pods["stranger"] = {"namespace": "strangers", "labels": {"retort.dev/client": "true"}}
    return {(a, b) for a, b in itertools.permutations(pods, 2)
            if _allowed(policies, "egress", pods[a], pods[b], namespaces) and
            _allowed(policies, "ingress", pods[b], pods[a], namespaces) and pods[b]["namespace"] == "release"}


# The edges of docs/architecture.md, and clients from where the values allow them. Nothing reaches a backup or a trainer.
WANTED_EDGES = {("jobs", "ledger"), ("jobs", "policy"), ("jobs", "teacher"), ("policy", "ledger"), ("teacher", "ledger"), ("trainer", "ledger"), ("trainer", "jobs"),
                *(("friend", role) for role in ROLES)}


def edge_findings(objects):
    # The neighbour has no policy: only our own side can keep us from calling it.
    seen = {(a, b) for a, b in edges(objects) if b != "neighbour" or a not in ("friend", "stranger")}
    for a, b in sorted(seen - WANTED_EDGES):
        yield f"NetworkPolicies: {a} reaches {b}; wanted nothing between them"
    for a, b in sorted(WANTED_EDGES - seen):
        yield f"NetworkPolicies: {a} does not reach {b}; wanted that it does"


def findings(objects):
    for check in (label_findings, security_findings, reference_findings, workload_findings, edge_findings):
        yield from check(objects)

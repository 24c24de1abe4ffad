"""Checks of deploy/helm and deploy/kustomize that need neither tool nor server; `make test-kubernetes` has the rest.

    python3 tests/deploy/manifests_test.py --bin build/release/bin
"""

import argparse
import copy
import functools
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import jsonschema
import yaml

import manifest
import rendered

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "deploy" / "helm" / "retort"
VALUES = REPOSITORY / "deploy" / "helm" / "values"
KUSTOMIZE = REPOSITORY / "deploy" / "kustomize"


def load(path):
    return yaml.safe_load(path.read_text())


def laid_over(base, values):
    """As Helm lays a values file over those of the chart."""
    result = copy.deepcopy(base)
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = laid_over(result[key], value) if both else value
    return result


@functools.cache
def base_objects():
    """What the base of the Kustomize tree prints, but for the digests in the names of ConfigMaps."""
    folder = KUSTOMIZE / "base"
    kustomization = load(folder / "kustomization.yaml")
    objects = [one for name in kustomization["resources"] for one in rendered.parse((folder / name).read_text())]
    labels = kustomization["generatorOptions"]["labels"]
    for generator in kustomization["configMapGenerator"]:
        data = {pathlib.PurePath(name.split("=")[-1]).name if "=" not in name else name.split("=")[0]:
                (folder / name.split("=")[-1]).read_text() for name in generator["files"]}
        objects.append({"kind": "ConfigMap", "data": data,
                        "metadata": {"name": generator["name"], "labels": dict(labels, **generator["options"]["labels"])}})
    return objects


class Schema(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.schema = json.loads((CHART / "values.schema.json").read_text())
        jsonschema.Draft7Validator.check_schema(cls.schema)
        cls.validator = jsonschema.Draft7Validator(cls.schema)
        cls.values = load(CHART / "values.yaml")

    def errors(self, values):
        return [f"{'.'.join(map(str, error.path))}: {error.message}"
                for error in self.validator.iter_errors(laid_over(self.values, values))]

    def test_accepts_every_values_file(self):
        self.assertEqual(self.errors({}), [])
        files = sorted(VALUES.glob("*.yaml"))
        self.assertGreaterEqual(len(files), 6)
        for path in files:
            self.assertEqual(self.errors(load(path)), [], path.name)

    def test_refuses_a_second_writer(self):
        for role in ("ledger", "jobs", "policy"):
            for values in ({"replicas": 2}, {"replicas": 0}, {"stateful": False}, {"autoscaling": {"enabled": True}}):
                self.assertTrue(self.errors({"roles": {role: values}}), f"{role} {values}")
        self.assertTrue(self.errors({"roles": {"archive": {"stateful": True}}}))
        self.assertEqual(self.errors({"roles": {"archive": {"stateful": True, "replicas": 1}}}), [])

    def test_takes_another_role(self):
        self.assertEqual(self.errors({"roles": {"gateway": {"calls": ["jobs", "ledger"], "keys": [], "replicas": 3}}}), [])

    def test_refuses_what_is_not_used(self):
        for values in ({"imagee": {}}, {"image": {"digest": "latest"}}, {"roles": {"policy": {"replica": 3}}},
                       {"roles": {"Policy": {}}}, {"ports": {"grpc": 443}}, {"runAs": {"user": 0}}, {"backup": {"keep": 0}},
                       {"training": {"launcher": "slurm"}}, {"certManager": {"duration": "3 days"}}, {"trustDomain": "a b"}):
            self.assertTrue(self.errors(values), values)

    def test_every_value_is_used_and_every_use_has_a_value(self):
        templates = "\n".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))
        used = set(re.findall(r"\.Values\.([A-Za-z.]+)", templates))
        for path in used:
            value = self.values
            for part in path.split("."):
                self.assertIsInstance(value, dict, path)
                self.assertIn(part, value, f".Values.{path} is not in values.yaml")
                value = value[part]
        for top in self.values:
            self.assertTrue(any(path.split(".")[0] == top for path in used), f"{top} is in values.yaml and nowhere used")
        for key in self.values["roleDefaults"]:
            self.assertRegex(templates, rf"[.$]role\.{key}\b|\$other\.{key}\b", f"roleDefaults.{key} is nowhere used")

    def test_every_value_is_described(self):
        lines = (CHART / "values.yaml").read_text().splitlines()
        for number, line in enumerate(lines):
            if re.match(r"^[a-zA-Z]+:( .*)?$", line):
                below = lines[number + 1] if number + 1 < len(lines) else ""
                self.assertTrue(lines[number - 1].startswith("# ") or below.lstrip().startswith("# --"),
                                f"values.yaml:{number + 1}: '{line}' has no words")


class Tree(unittest.TestCase):
    def test_files_are_there_and_none_is_left_over(self):
        named = set()
        for path in sorted(KUSTOMIZE.rglob("kustomization.yaml")):
            kustomization = load(path)
            named.add(path)
            files = list(kustomization.get("resources", [])) + list(kustomization.get("components", []))
            files += [patch["path"] for patch in kustomization.get("patches", []) if "path" in patch]
            for generator in kustomization.get("configMapGenerator", []):
                files += [name.split("=")[-1] for name in generator["files"]]
            for name in files:
                target = (path.parent / name).resolve()
                self.assertTrue(target.exists(), f"{path}: names {name}, which is not there")
                named.add(target / "kustomization.yaml" if target.is_dir() else target)
        for path in sorted(KUSTOMIZE.rglob("*.yaml")):
            self.assertIn(path, named | {KUSTOMIZE / "base" / "kustomization.yaml"}, f"{path}: no kustomization names it")

    def test_base(self):
        objects = base_objects()
        self.assertGreater(len(objects), 20)
        self.assertEqual(list(manifest.findings(objects)), [])

    def test_findings_are_found(self):
        def broken(kind, name, change):
            objects = copy.deepcopy(base_objects())
            one = next(one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name)
            change(one)
            return list(manifest.findings(objects))

        def pod(one):
            return manifest.pod_template(one)["spec"]

        changes = [
            ("StatefulSet", "retort-ledger", lambda one: one["spec"].update(replicas=2)),
            ("StatefulSet", "retort-jobs", lambda one: one["spec"].pop("persistentVolumeClaimRetentionPolicy")),
            ("StatefulSet", "retort-policy", lambda one: one["spec"].update(replicas=2)),
            ("Deployment", "retort-teacher", lambda one: one["spec"].update(replicas=3)),
            ("Deployment", "retort-teacher", lambda one: pod(one).pop("topologySpreadConstraints")),
            ("Deployment", "retort-teacher", lambda one: pod(one)["securityContext"].update(runAsNonRoot=False)),
            ("Deployment", "retort-teacher", lambda one: pod(one)["containers"][0].pop("readinessProbe")),
            ("Deployment", "retort-teacher", lambda one: pod(one).update(automountServiceAccountToken=True)),
            ("Deployment", "retort-teacher", lambda one: pod(one)["volumes"].pop()),
            ("StatefulSet", "retort-jobs", lambda one: next(
                mount for mount in pod(one)["containers"][0]["volumeMounts"] if mount["name"] == "data").update(mountPath="/var/lib/retort")),
            ("CronJob", "retort-backup", lambda one: pod(one)["containers"][0]["securityContext"].update(readOnlyRootFilesystem=False)),
            ("Service", "retort-ledger", lambda one: one["metadata"].update(name="other")),
            ("PodDisruptionBudget", "retort-teacher", lambda one: one["spec"]["selector"]["matchLabels"].clear()),
            ("NetworkPolicy", "retort-policy", lambda one: one["spec"].update(egress=[{"to": [{"podSelector": {}}]}])),
            ("NetworkPolicy", "retort-ledger", lambda one: one["spec"].update(ingress=[])),
            ("NetworkPolicy", "retort-default-deny", lambda one: one["spec"].update(policyTypes=["Egress"])),
        ]
        for kind, name, change in changes:
            self.assertTrue(broken(kind, name, change), f"a change of {kind} {name} is not noticed")


class Configurations(unittest.TestCase):
    """The real server reads what the pods would mount."""
    retortd = None

    def accepts(self, role, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                (pathlib.Path(folder) / name).write_text(text)
            done = subprocess.run([self.retortd, "--config", folder, "--roles", role, "--print-config"],
                                  capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, f"{role}: {done.stderr}")
            return done.stdout

    def config_files(self, folder, role):
        for generator in load(folder / "kustomization.yaml").get("configMapGenerator", []):
            if generator["name"] == f"retort-{role}-config":
                return {name.split("=")[0]: (folder / name.split("=")[-1]).read_text() for name in generator["files"]}
        return {}

    def test_of_the_base(self):
        for role in manifest.ROLES:
            printed = self.accepts(role, self.config_files(KUSTOMIZE / "base", role))
            self.assertIn('data_dir: "/var/lib/retort"', printed)

    def test_with_every_component_and_overlay(self):
        seen = 0
        for path in sorted(KUSTOMIZE.glob("*/*/kustomization.yaml")):
            for role in manifest.ROLES:
                added = self.config_files(path.parent, role)
                seen += len(added)
                if added:
                    self.accepts(role, dict(self.config_files(KUSTOMIZE / "base", role), **added))
        self.assertGreater(seen, 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of the built programs")
    arguments, rest = parser.parse_known_args()
    Configurations.retortd = arguments.bin.resolve() / "retortd"
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()

"""Objects as helm and kustomize print them, in one form, so that the two can be compared.

What differs by design is taken away: who manages an object, Helm's own annotations, the digest by which each of the two
makes a changed configuration a new pod (an annotation there, the ConfigMap's name here), and into how many files a
configuration is cut.
"""

import json
import re

import yaml

CLUSTER_SCOPED = ("ClusterQueue", "ResourceFlavor")
HASHED_NAME = re.compile(r"^(.+-config)-[a-z0-9]{10}$")

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast


def parse(text):
    return [one for one in yaml.load_all(text, Loader=LOADER) if one]


def merged(parts):
    """Maps laid over each other, as the server merges the files of a folder."""
    result = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged([result[key], value]) if both else value
    return result


def configuration(config_map):
    """What `retortd --config` sees of a mounted ConfigMap."""
    return merged(yaml.safe_load(text) for _, text in sorted(config_map["data"].items()))


def _without_hashes(value):
    if isinstance(value, dict):
        return {key: _without_hashes(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_hashes(one) for one in value]
    if isinstance(value, str) and HASHED_NAME.match(value):
        return HASHED_NAME.match(value).group(1)
    return value


def _clean_metadata(metadata):
    metadata.get("labels", {}).pop("app.kubernetes.io/managed-by", None)
    kept = {key: value for key, value in metadata.get("annotations", {}).items()
            if not key.startswith("helm.sh/") and key != "checksum/config"}
    metadata.pop("annotations", None)
    if kept:
        metadata["annotations"] = kept


def comparable(objects):
    """The objects by "Kind name"."""
    result = {}
    for one in _without_hashes(json.loads(json.dumps(objects))):
        _clean_metadata(one["metadata"])
        if one["kind"] in CLUSTER_SCOPED:
            one["metadata"].pop("namespace", None)
        if one["kind"] == "ConfigMap":
            one["data"] = configuration(one)
        for template in ("template", "jobTemplate"):
            if template in one.get("spec", {}):
                _clean_metadata(one["spec"][template].get("metadata", {}))
        result[f"{one['kind']} {one['metadata']['name']}"] = one
    return result


def _differences(path, a, b):
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(set(a) | set(b), key=str):
            yield from _differences(f"{path}.{key}", a.get(key, "absent"), b.get(key, "absent"))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (one, other) in enumerate(zip(a, b)):
            yield from _differences(f"{path}[{index}]", one, other)
    elif a != b:
        yield f"{path}: {json.dumps(a)[:200]} and {json.dumps(b)[:200]}"


def differences(helm_objects, kustomize_objects):
    """One line for each difference: path, what Helm prints, what Kustomize prints."""
    ours, theirs = comparable(helm_objects), comparable(kustomize_objects)
    for name in sorted(set(ours) | set(theirs)):
        if name not in theirs:
            yield f"{name}: only Helm prints it"
        elif name not in ours:
            yield f"{name}: only Kustomize prints it"
        else:
            yield from _differences(name, ours[name], theirs[name])

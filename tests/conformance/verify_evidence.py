"""Verifies an evidence pack without a line of Retort's code: docs/formats/ledger.md, RFC 8032, and Python's standard library.

    verify_evidence.py PACK --vkey 'acme/demo+c5115779+AZsf...'

Prints VERIFIED with what was counted, and exits 0; prints FAILED with the place and exits 3. It is written from the page
alone, so that the page stays complete: where this file needed more than the page says, the page was mended. It is slow (one
signature takes some milliseconds) and does not recompute policy decisions; `retort audit verify` does.
"""

import argparse
import base64
import fractions
import hashlib
import json
import math
import pathlib
import re
import sys


class Failed(Exception):
    """Something in the pack is not what the page says."""


def check(condition, message):
    if not condition:
        raise Failed(message)


def sha256(data):
    return hashlib.sha256(data).digest()


# --- Ed25519, RFC 8032 section 5.1 ---------------------------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if square == 0:
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P != 0:
        return None
    return P - x if x & 1 != sign else x


def decode_point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)  # extended homogeneous coordinates


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (recover_x(BASE_Y, 0), BASE_Y, 1, recover_x(BASE_Y, 0) * BASE_Y % P)


def ed25519_verifies(public_key, message, signature):
    if len(public_key) != 32 or len(signature) != 64:
        return False
    a, r = decode_point(public_key), decode_point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % L
    left, right = multiply(s, BASE), add(r, multiply(k, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


# --- Keys, "Keys" of the page --------------------------------------------------------------------------------------


def strict_base64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Failed(f"not base64: {text[:40]!r}") from error
    check(base64.b64encode(data).decode() == text, f"not canonical base64: {text[:40]!r}")
    return data


def parse_vkey(vkey):
    """Name, 4-byte id, public key."""
    parts = vkey.split("+", 2)
    check(len(parts) == 3, f"vkey {vkey[:40]!r} has not the form name+id+key")
    name, key_id, data = parts[0], parts[1], strict_base64(parts[2])
    check(len(data) == 33 and data[0] == 1, f"vkey of {name!r} is not an Ed25519 key")
    check(sha256(name.encode() + b"\n" + data)[:4].hex() == key_id, f"vkey of {name!r} has another id")
    return name, bytes.fromhex(key_id), data[1:]


# --- Canonical JSON and statements ---------------------------------------------------------------------------------


def canonical(value, depth=0):
    check(depth <= 32, "JSON nests deeper than 32")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        check(abs(value) < 2**53, "an integer beyond 2^53 - 1")
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ",".join(canonical(item, depth + 1) for item in value) + "]"
    check(isinstance(value, dict), f"a {type(value).__name__} in canonical JSON")
    check(all(key.isascii() for key in value), "a key that is not ASCII")
    return "{" + ",".join(f"{json.dumps(key)}:{canonical(value[key], depth + 1)}" for key in sorted(value)) + "}"


def parse_canonical(data):
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Failed("not JSON in UTF-8") from error
    check(isinstance(value, dict), "not a JSON object")
    check(canonical(value).encode() == data, "JSON is not canonical")
    return value


TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
DECIMAL = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
FIXED = re.compile(r"(0|[1-9]\d*)(\.\d{0,8}[1-9])?")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DIGEST = re.compile(r"[0-9a-f]{64}")


def text(value):
    return isinstance(value, str)


def name(value):
    return text(value) and value != ""


def pattern(regular, empty=False):
    return lambda value: text(value) and (bool(regular.fullmatch(value)) or (empty and value == ""))


def integer(least=0):
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def choice(*values):
    return lambda value: value in values


def array(members):
    if callable(members):
        return lambda value: isinstance(value, list) and all(members(item) for item in value)
    return lambda value: isinstance(value, list) and all(has_members(item, members) for item in value)


def has_members(value, members):
    return isinstance(value, dict) and value.keys() == members.keys() and all(
        members[key](value[key]) for key in members)


digest, optional_digest = pattern(DIGEST), pattern(DIGEST, empty=True)
time, optional_time = pattern(TIME), pattern(TIME, empty=True)
decimal, optional_decimal = pattern(DECIMAL), pattern(DECIMAL, empty=True)
fixed, optional_fixed = pattern(FIXED), pattern(FIXED, empty=True)
uuid, effect = pattern(UUID), choice("allow", "review", "deny")

OBLIGATIONS = array({"pack": name, "rule": name, "kind": name, "trigger": text, "text": text})
COMMON = {"project": name, "request_id": uuid}
# number: (type, roles that may sign it, members)
STATEMENTS = {
    1: ("capture", {"teacher"}, {
        **dict.fromkeys(("job", "job_uid", "prompt_id", "teacher", "provider", "channel", "model_requested", "endpoint"), name),
        **dict.fromkeys(("account_class", "account_region", "model_answered", "response_id"), text),
        **dict.fromkeys(("index", "seed", "top_logprobs", "prompt_tokens", "completion_tokens", "http_status",
                         "transport_retries", "payload_bytes"), integer()),
        "attempt": integer(1), "max_tokens": integer(1), "split": choice("train", "held_out"),
        "weights_sha256": optional_digest, "tokenizer_sha256": optional_digest, "acquired_time": optional_time,
        "temperature": decimal, "top_p": decimal, "requested_time": time, "completed_time": time,
        "finish_reason": choice("stop", "length", "content_filter"), "payload_digest": digest}),
    2: ("decision", {"policy"}, {
        "subject_kind": choice("sample", "job"), "subject_digest": digest, "job": text, "job_uid": text, "effect": effect,
        "rules": array({"pack": name, "rule": name, "effect": effect, "clause": text}), "obligations": OBLIGATIONS,
        "packs": array({"id": name, "version": name, "sha256": digest}), "missing_inputs": array(text),
        "facts": lambda value: isinstance(value, dict), "facts_digest": digest, "generated_time": time,
        "decided_time": time}),
    3: ("policy-pack", {"policy", "jobs"}, {
        "id": name, "version": name, "sha256": digest, "source_url": text, "document_date": text, "confidence": text}),
    4: ("review", {"reviewer"}, {
        "subject_entry": integer(), "subject_digest": digest, "verdict": choice("approve", "reject"), "reviewer": name,
        "reason": text, "reviewed_time": time}),
    5: ("dataset", {"log"}, {
        "dataset": name, "job": name, "job_uid": name, "manifest_sha256": digest, "train_samples": integer(),
        "held_out_samples": integer(), "excluded_samples": integer()}),
    6: ("training", {"trainer"}, None),  # members depend on the phase: training_members
    7: ("release", {"jobs"}, {
        "job": name, "job_uid": name, "student": name, "dataset_entry": integer(), "training_entry": integer(),
        "checkpoint_digest": digest, "files": array({"path": name, "sha256": digest, "bytes": integer()}),
        "quality": array({"student": name, "kl": decimal, "agreement": decimal, "perplexity": decimal, "tokens": integer()}),
        "obligations": OBLIGATIONS}),
    8: ("key", {"log"}, {
        "role": choice("log", "teacher", "policy", "jobs", "trainer", "reviewer"), "vkey": name,
        "action": choice("add", "retire")}),
    9: ("erasure", {"log"}, {"sample_entry": integer(), "sample_leaf_hash": digest, "reason": name, "authority": name}),
    10: ("access", {"log", "jobs", "policy", "teacher"}, {
        "identity": text, "method": name, "resource": text, "decision": choice("allow", "deny"), "reason": text,
        "count": integer(1), "first_time": time, "last_time": time}),
}
TRAINING = {"job": name, "job_uid": name, "run": choice("logits", "text_only"), "dataset_entry": integer(),
            "manifest_sha256": digest}
MILESTONE = {"phase": choice("start", "checkpoint", "finish"), "step": integer(), "checkpoint_digest": digest,
             "previous_digest": optional_digest, "transcript_digest": digest, "loss": optional_decimal}
USAGE = {"attempt": integer(1), "outcome": choice("finished", "stopped", "failed", "lost"), "first_step": integer(),
         "last_step": integer(), "tokens": integer(), "begun_time": time, "ended_time": time, "device": name,
         "devices": integer(1), "device_seconds": fixed, "energy_source": choice("rapl", "nvml", "declared", "none"),
         "energy_kwh": optional_fixed, "declared_watts": optional_fixed, "currency": text,
         "price_device_hour": optional_fixed, "price_kwh": optional_fixed, "device_cost": optional_fixed,
         "energy_cost": optional_fixed}


def training_members(statement):
    if statement.get("phase") == "usage":
        return {**TRAINING, "phase": choice("usage"), "usage": lambda value: has_members(value, USAGE)}
    return {**TRAINING, **MILESTONE}


def cost(price, amount, divisor):
    """Rounded half up to nine digits, written without zeros at its end; empty without a price or an amount."""
    if price == "" or amount == "":
        return ""
    nanos = math.floor(fractions.Fraction(price) * fractions.Fraction(amount) / divisor * 10**9 + fractions.Fraction(1, 2))
    return f"{nanos // 10**9}.{nanos % 10**9:09d}".rstrip("0").rstrip(".")


def check_usage(usage):
    check(usage["first_step"] <= usage["last_step"], "usage: steps go back")
    check(usage["begun_time"] <= usage["ended_time"], "usage: ends before it began")
    check((usage["energy_kwh"] == "") == (usage["energy_source"] == "none"), "usage: energy without a source, or none with one")
    check((usage["declared_watts"] != "") == (usage["energy_source"] == "declared"), "usage: watts without being declared")
    priced = usage["price_device_hour"] != "" or usage["price_kwh"] != ""
    check(bool(re.fullmatch("[A-Z]{3}", usage["currency"])) if priced else usage["currency"] == "", "usage: wrong currency")
    check(usage["device_cost"] == cost(usage["price_device_hour"], usage["device_seconds"], 3600), "usage: wrong device_cost")
    check(usage["energy_cost"] == cost(usage["price_kwh"], usage["energy_kwh"], 1), "usage: wrong energy_cost")


# kind: (name, numbers of its statements)
KINDS = {1: ("SAMPLE", (1, 2)), 2: ("POLICY_PACK", (3,)), 3: ("DECISION", (2,)), 4: ("REVIEW", (4,)), 5: ("DATASET", (5,)),
         6: ("TRAINING", (6,)), 7: ("RELEASE", (7,)), 8: ("KEY", (8,)), 9: ("ERASURE", (9,)), 10: ("ACCESS", (10,))}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        check(self.at + size <= len(self.data), "ends too early")
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")


def parse_entry(leaf):
    """Kind, time, [(number, statement bytes, key id, signature)]."""
    check(len(leaf) <= 65535, "is larger than 65,535 bytes")
    reader = Reader(leaf)
    check(reader.take(4) == b"RTE1", "does not begin with RTE1")
    kind, count, accepted = reader.number(1), reader.number(1), reader.number(8)
    check(kind in KINDS, f"has the unknown kind {kind}")
    check(accepted < 2**63, "has a time beyond 2^63")
    check(count == len(KINDS[kind][1]), f"has {count} statements")
    statements = []
    for wanted in KINDS[kind][1]:
        number = reader.number(1)
        check(number == wanted, f"holds statement {number} where {wanted} belongs")
        body = reader.take(reader.number(4))
        statements.append((number, body, reader.take(32), reader.take(64)))
    check(reader.at == len(leaf), "has bytes after its last signature")
    return kind, accepted, statements


def signed_bytes(number, body):
    kind = f"application/vnd.retort.{STATEMENTS[number][0]}.v1+json".encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)


# --- Tree ----------------------------------------------------------------------------------------------------------


def tree_root(hashes):
    """RFC 6962 section 2.1, from leaf hashes."""
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return sha256(b"\x01" + tree_root(hashes[:split]) + tree_root(hashes[split:]))


def tile_names(count):
    """Index and width of each level-0 tile or entry bundle of a tree of `count` leaves, with the C2SP path of it."""
    for tile in range((count + 255) // 256):
        groups, rest = [f"{tile % 1000:03d}"], tile // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03d}")
            rest //= 1000
        width = min(256, count - tile * 256)
        yield width, "/".join(groups) + ("" if width == 256 else f".p/{width}")


def parse_checkpoint(note, vkey):
    """Size and root, once the log's signature is checked."""
    origin, key_id, public_key = parse_vkey(vkey)
    try:
        decoded = note.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Failed("checkpoint: not UTF-8") from error
    body, separator, signatures = decoded.rpartition("\n\n")
    check(separator and signatures.endswith("\n"), "checkpoint: not a signed note")
    body += "\n"
    lines = body.split("\n")
    check(len(lines) == 4 and lines[3] == "", "checkpoint: wanted three lines before the signatures")
    check(lines[0] == origin, f"checkpoint: origin is {lines[0]!r}, the key's name is {origin!r}")
    check(re.fullmatch(r"0|[1-9]\d*", lines[1]), "checkpoint: size is no number")
    root = strict_base64(lines[2])
    check(len(root) == 32, "checkpoint: root is not 32 bytes")
    verified = False
    for line in signatures[:-1].split("\n"):
        match = re.fullmatch("\u2014 (\\S+) (\\S+)", line)
        check(match, "checkpoint: a signature line has not the form of a note's")
        data = strict_base64(match[2])
        if match[1] == origin and data[:4] == key_id:
            check(ed25519_verifies(public_key, body.encode(), data[4:]), "checkpoint: signature does not verify")
            verified = True
    check(verified, "checkpoint: no signature by the log's key")
    return int(lines[1]), root


# --- The pack ------------------------------------------------------------------------------------------------------


class Pack:
    def __init__(self, folder, vkey):
        self.folder, self.vkey = pathlib.Path(folder), vkey
        self.keys = {("log", sha256(parse_vkey(vkey)[2]))}  # (role, key id)
        self.public_keys = {sha256(parse_vkey(vkey)[2]): parse_vkey(vkey)[2]}
        self.request_ids, self.project, self.time = set(), None, 0
        self.samples, self.revisions, self.erased = {}, {}, set()
        self.verdicts = {}  # by entry of a decision, of its newest review
        self.decisions, self.datasets, self.runs, self.finishes = {}, {}, {}, {}
        self.counts, self.releases, self.attempts = {}, {}, {}

    def read(self, path):
        try:
            return (self.folder / path).read_bytes()
        except OSError as error:
            raise Failed(f"{path}: {error.strerror}") from error

    def attachment(self, hex_digest):
        data = self.read(f"attachments/{hex_digest}")
        check(sha256(data).hex() == hex_digest, f"attachments/{hex_digest}: has another digest")
        return data

    def verify(self):
        size, root = parse_checkpoint(self.read("checkpoint"), self.vkey)
        leaves = []
        for width, path in tile_names(size):
            reader = Reader(self.read(f"tile/entries/{path}"))
            try:
                leaves.extend(reader.take(reader.number(2)) for _ in range(width))
                check(reader.at == len(reader.data), "has bytes after its last entry")
            except Failed as error:
                raise Failed(f"tile/entries/{path}: {error}") from error
        self.hashes = [sha256(b"\x00" + leaf) for leaf in leaves]
        for index, leaf in enumerate(leaves):
            try:
                self.entry(index, leaf)
            except Failed as error:
                raise Failed(f"entry {index}: {error}") from error
        for width, path in tile_names(size):  # optional; where there, they tell which entry has changed
            if not (self.folder / "tile/0" / path).exists():
                continue
            first = int(path.split(".")[0].replace("/", "").replace("x", "")) * 256
            data = self.read(f"tile/0/{path}")
            check(len(data) == 32 * width, f"tile/0/{path}: has {len(data)} bytes")
            for i in range(width):
                check(data[32 * i:32 * i + 32] == self.hashes[first + i],
                      f"entry {first + i}: leaf hash is not that of tile/0/{path}")
        check(tree_root(self.hashes) == root, "checkpoint: the entries have another root")
        self.files()
        return size, root

    def entry(self, index, leaf):
        kind, accepted, signed = parse_entry(leaf)
        check(accepted >= self.time, "is older than the entry before")
        self.time = accepted
        statements = []
        for number, body, key_id, signature in signed:
            label, roles, members = STATEMENTS[number]
            check(key_id in self.public_keys and any((role, key_id) in self.keys for role in roles),
                  f"{label}: key {key_id.hex()[:16]} has no role for it here")
            check(ed25519_verifies(self.public_keys[key_id], signed_bytes(number, body), signature),
                  f"{label}: signature does not verify")
            statement = parse_canonical(body)
            members = training_members(statement) if members is None else members
            check(statement.keys() == {**COMMON, **members}.keys(), f"{label}: has other members than the page says")
            for member, form in {**COMMON, **members}.items():
                check(form(statement[member]), f"{label}: {member} has not its form")
            self.project = self.project or statement["project"]
            check(statement["project"] == self.project, f"{label}: is of another project")
            statements.append(statement)
        check(statements[0]["request_id"] not in self.request_ids, "repeats a request id")
        self.request_ids.add(statements[0]["request_id"])
        kind_name = KINDS[kind][0]
        self.counts[kind_name] = self.counts.get(kind_name, 0) + 1
        getattr(self, "on_" + kind_name.lower())(index, statements, signed)

    # What must hold between entries.

    def decision(self, index, statement, body):
        check(sha256(canonical(statement["facts"]).encode()).hex() == statement["facts_digest"],
              "decision: facts have another digest")
        self.decisions[index] = sha256(body).hex()

    def on_sample(self, index, statements, signed):
        capture, decided = statements
        subject = sha256(signed[0][1]).hex()
        check(decided["subject_kind"] == "sample" and decided["subject_digest"] == subject,
              "the decision is about another capture")
        for member in ("project", "job", "job_uid"):
            check(decided[member] == capture[member], f"capture and decision differ in {member}")
        self.decision(index, decided, signed[1][1])
        self.samples[index] = (capture, subject, decided["effect"])

    def on_policy_pack(self, index, statements, signed):
        self.attachment(statements[0]["sha256"])

    def on_decision(self, index, statements, signed):
        self.decision(index, statements[0], signed[0][1])
        if statements[0]["subject_kind"] == "sample":
            self.revisions[statements[0]["subject_digest"]] = (index, statements[0]["effect"])
        else:
            check(statements[0]["subject_digest"] == statements[0]["facts_digest"], "decision: is about other facts")

    def on_review(self, index, statements, signed):
        subject = self.decisions.get(statements[0]["subject_entry"])
        check(subject == statements[0]["subject_digest"], "review: is about another decision")
        self.verdicts[statements[0]["subject_entry"]] = statements[0]["verdict"]

    def on_dataset(self, index, statements, signed):
        dataset = statements[0]
        manifest = parse_canonical(self.attachment(dataset["manifest_sha256"]))
        listed = array({"index": integer(), "leaf_hash": digest, "prompt_id": name, "split": choice("train", "held_out")})
        check(manifest.keys() == {"samples"} and listed(manifest["samples"]), "dataset: manifest has not its form")
        splits = [sample["split"] for sample in manifest["samples"]]
        check(splits == sorted(splits, reverse=True), "dataset: held out samples stand before train")
        check(splits.count("train") == dataset["train_samples"], "dataset: train_samples is another number")
        check(splits.count("held_out") == dataset["held_out_samples"], "dataset: held_out_samples is another number")
        indexes = {sample["index"] for sample in manifest["samples"]}
        check(len(indexes) == len(splits), "dataset: lists an entry twice")
        for sample in manifest["samples"]:
            check(sample["index"] in self.samples, f"dataset: lists entry {sample['index']}, no earlier SAMPLE")
            capture, subject, decided = self.samples[sample["index"]]
            check(sample["leaf_hash"] == self.hashes[sample["index"]].hex(), "dataset: lists another leaf hash")
            check((capture["job_uid"], capture["prompt_id"], capture["split"]) ==
                  (dataset["job_uid"], sample["prompt_id"], sample["split"]), "dataset: lists a sample as another")
            at, newest = self.revisions.get(subject, (sample["index"], decided))
            verdict = self.verdicts.get(at)
            check("deny" not in (decided, newest) and verdict != "reject" and (newest == "allow" or verdict == "approve"),
                  f"dataset: lists entry {sample['index']}, which is not admitted")
            check(sample["index"] not in self.erased, f"dataset: lists entry {sample['index']}, which was erased")
        samples = sum(capture["job_uid"] == dataset["job_uid"] for capture, _, _ in self.samples.values())
        check(samples - len(indexes) == dataset["excluded_samples"], "dataset: excluded_samples is another number")
        self.datasets[index] = dataset["job_uid"]

    def on_training(self, index, statements, signed):
        now = statements[0]
        self.attachment(now["manifest_sha256"])
        run, before = (now["job_uid"], now["run"]), self.runs.get((now["job_uid"], now["run"]))
        check(self.datasets.get(now["dataset_entry"]) == now["job_uid"], "training: dataset_entry is no dataset of the job")
        if now["phase"] == "usage":
            check_usage(now["usage"])
            self.attempts[run] = self.attempts.get(run, 0) + 1
            check(now["usage"]["attempt"] == self.attempts[run], "usage: an attempt before this one is not told")
            return
        if now["phase"] == "start":
            check(before is None and now["previous_digest"] == "", "training: a second start")
        else:
            check(before is not None and before["phase"] != "finish", "training: no run goes on here")
            check(now["previous_digest"] == before["checkpoint_digest"], "training: does not follow the checkpoint before")
            check(now["step"] >= before["step"], "training: steps go back")
            check((now["dataset_entry"], now["manifest_sha256"]) == (before["dataset_entry"], before["manifest_sha256"]),
                  "training: dataset or manifest changed")
        self.runs[run] = now
        if now["phase"] == "finish":
            self.finishes[index] = now

    def on_release(self, index, statements, signed):
        release = statements[0]
        finish = self.finishes.get(release["training_entry"])
        check(finish is not None, "release: training_entry is no finish")
        for member in ("job_uid", "dataset_entry", "checkpoint_digest"):
            check(release[member] == finish[member], f"release: {member} is not the training's")
        self.releases[index] = release

    def on_key(self, index, statements, signed):
        _, _, public_key = parse_vkey(statements[0]["vkey"])
        key = (statements[0]["role"], sha256(public_key))
        if key[0] == "log":
            check(key in self.keys and statements[0]["action"] == "add", "key: is about another key of the log")
        elif statements[0]["action"] == "add":
            check(key not in self.keys, "key: adds a key that is there")
            self.keys.add(key)
            self.public_keys[key[1]] = public_key
        else:
            check(key in self.keys, "key: retires a key that is not there")
            self.keys.discard(key)

    def on_erasure(self, index, statements, signed):
        erased = statements[0]["sample_entry"]
        check(erased in self.samples, "erasure: names no earlier SAMPLE")
        check(self.hashes[erased].hex() == statements[0]["sample_leaf_hash"], "erasure: names another leaf hash")
        check(erased not in self.erased, "erasure: names a sample that was erased before")
        self.erased.add(erased)

    def on_access(self, index, statements, signed):
        access = statements[0]
        check(access["first_time"] <= access["last_time"], "access: its last time is before its first")
        if access["decision"] == "allow":
            check((access["count"], access["reason"]) == (1, ""), "access: an allowance with a count or a reason")
        else:
            check(access["reason"] != "", "access: a refusal without a reason")

    def files(self):
        manifest = parse_canonical(self.read("manifest.json"))
        form = {"files": array({"bytes": integer(), "path": name, "sha256": digest}), "release_entry": integer(-1),
                "version": choice(1)}
        check(has_members(manifest, form), "manifest.json: has not its form")
        listed = [file["path"] for file in manifest["files"]]
        check(listed == sorted(set(listed), key=str.encode), "manifest.json: paths do not ascend")
        present = sorted((str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if not path.is_dir()),
                         key=str.encode)
        present.remove("manifest.json")
        check(listed == present, f"manifest.json: lists other files than there are: {set(listed) ^ set(present)}")
        student = {}
        if manifest["release_entry"] >= 0:
            release = self.releases.get(manifest["release_entry"])
            check(release is not None, "manifest.json: release_entry is no RELEASE")
            student = {f"student/{file['path']}": (file["sha256"], file["bytes"]) for file in release["files"]}
        check({path for path in present if path.startswith("student/")} == student.keys(),
              "student: not exactly the files of the RELEASE entry")
        for file in manifest["files"]:
            data = self.read(file["path"])
            seen = (sha256(data).hex(), len(data))
            if file["path"] in student:
                check(seen == student[file["path"]], f"{file['path']}: is not the released file")
            check(seen == (file["sha256"], file["bytes"]), f"{file['path']}: is not what manifest.json lists")
            if file["path"].startswith("attachments/"):
                check(file["path"] == f"attachments/{seen[0]}", f"{file['path']}: has another digest")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack")
    parser.add_argument("--vkey", required=True, help="the log's verifier key, from somewhere else than the pack")
    arguments = parser.parse_args()
    pack = Pack(arguments.pack, arguments.vkey)
    try:
        size, root = pack.verify()
    except Failed as error:
        print(f"FAILED: {error}")
        return 3
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(pack.counts.items()))
    print(f"VERIFIED: {size} entries ({counted}), root {root.hex()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

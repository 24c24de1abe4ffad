#!/usr/bin/env python3
"""Rules of the .proto files: style (buf's STANDARD and COMMENTS, AIP) and what may not change against the last release.

    proto_rules.py            checks proto/ and prints one finding a line; exit 1 when there is any
    proto_rules.py --renew    writes released.json from proto/ as it is: done once with every release, in its commit

Works on what protoc itself understood (--descriptor_set_out), never on the text. Of buf's rules two are left out, where AIP
wins: RPC_RESPONSE_STANDARD_NAME and RPC_REQUEST_RESPONSE_UNIQUE (Get and Create return the resource, long-running methods an
Operation). google/** and grpc/** are public definitions with names of their own.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "proto"
BASELINE = HERE / "released.json"

# (file, rule): why the rule does not hold there.
EXCEPTIONS = {
    ("retort/error_reason.proto", "PACKAGE_VERSION_SUFFIX"): "reasons are of every version of every package",
    ("retort/error_reason.proto", "ENUM_VALUE_PREFIX"): "ErrorInfo.reason is the value's name, as in google.api.ErrorReason",
    ("retort/access.proto", "PACKAGE_VERSION_SUFFIX"): "options are of every version of every package",
}
# Changing methods without a request_id field: why a repeat is harmless.
REPEATABLE = {
    "AppendEntry": "the request id is in the statements",
    "Extract": "called by jobs only, each call is an attempt of its own and shows in the ledger",
    "DecideJob": "keeps nothing", "DecideSample": "keeps nothing",
    "ExchangeRendezvous": "keeps nothing",
}
# Files that no client sees: bytes must stay readable, names may change (buf's WIRE_JSON).
INTERNAL = ("retort/jobs/v1/job_record.proto", "retort/operations/v1/operation_record.proto")

# Published by others, with names of their own.
PUBLIC = ("google/", "grpc/")

BEHAVIOUR = re.compile(r"(Required|Optional|Output only|Immutable)\.(\s|$)")
READS = re.compile(r"(Get|List|Watch|Read|Download|Lookup|Count|Preview|Wait)[A-Z]")
FIELD = descriptor_pb2.FieldDescriptorProto


def compile_protos(root, work):
    """Every file under root, with comments, as protoc sees it."""
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*.proto"))
    out = pathlib.Path(work) / "set"
    subprocess.run(["protoc", f"-I{root}", "--include_source_info", f"--descriptor_set_out={out}", *files], check=True)
    found = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    return [file for file in found.file if file.name in files]


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


class Lint:
    def __init__(self, files):
        self.files, self.findings = files, []
        self.by_name = {file.name: file for file in files}

    def check(self, ok, rule, message):
        if not ok and (self.file.name, rule) not in EXCEPTIONS:
            self.findings.append(f"{self.file.name}: {rule}: {message}")

    def run(self):
        directories = {}
        for file in self.files:
            if file.name.startswith(PUBLIC):
                continue
            self.file = file
            self.comments = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
            directory = str(pathlib.PurePosixPath(file.name).parent)
            self.check(file.syntax == "proto3", "SYNTAX_SPECIFIED", f"syntax is '{file.syntax}', wanted proto3")
            self.check(file.package, "PACKAGE_DEFINED", "no package")
            self.check(directory == file.package.replace(".", "/"), "PACKAGE_DIRECTORY_MATCH",
                       f"package {file.package} in directory {directory}")
            self.check(directories.setdefault(file.package, directory) == directory, "PACKAGE_SAME_DIRECTORY",
                       f"package {file.package} is also in {directories[file.package]}")
            self.check(re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)*", file.package), "PACKAGE_LOWER_SNAKE_CASE", file.package)
            self.check(re.search(r"\.v\d+((alpha|beta)\d+)?$", file.package), "PACKAGE_VERSION_SUFFIX", file.package)
            self.check(re.fullmatch(r"[a-z0-9_]+\.proto", pathlib.PurePosixPath(file.name).name), "FILE_LOWER_SNAKE_CASE",
                       file.name)
            self.check(not file.public_dependency, "IMPORT_NO_PUBLIC", "a public import")
            self.check(not file.weak_dependency, "IMPORT_NO_WEAK", "a weak import")
            self.imports(file)
            for i, enum in enumerate(file.enum_type):
                self.enum(enum, (5, i))
            for i, message in enumerate(file.message_type):
                self.message(message, (4, i))
            for i, service in enumerate(file.service):
                self.service(service, (6, i))
        return self.findings

    def commented(self, path, rule, what):
        self.check(self.comments.get(path, "").strip(), rule, f"{what} has no comment")

    def imports(self, file):
        used = set()

        def note(name):
            used.add(name.lstrip("."))

        def walk(message):
            for field in list(message.field) + list(message.extension):
                note(field.type_name)
            for nested in message.nested_type:
                walk(nested)

        for message in file.message_type:
            walk(message)
        for extension in file.extension:
            note(extension.type_name)
            note(extension.extendee)
        options = set()
        for service in file.service:
            for method in service.method:
                note(method.input_type)
                note(method.output_type)
                if method.options.ByteSize() > (2 if method.options.HasField("idempotency_level") else 0):
                    options.add("retort/access.proto")  # an option of ours, which python keeps as unknown bytes
        for dependency in file.dependency:
            if dependency not in self.by_name and not dependency.startswith("google/protobuf/"):
                continue
            package = self.by_name[dependency].package if dependency in self.by_name else "google.protobuf"
            names = any(name.startswith(package + ".") for name in used)
            self.check(names or dependency in options, "IMPORT_USED", f"{dependency} is imported for nothing")
            self.check(re.search(r"\.v\d+(alpha|beta)\d+$", file.package) or
                       not re.search(r"\.v\d+(alpha|beta)\d+$", package), "STABLE_IMPORTS_STABLE",
                       f"{dependency} is not stable")

    def enum(self, enum, path):
        self.commented(path, "COMMENT_ENUM", f"enum {enum.name}")
        self.check(re.fullmatch(r"[A-Z][A-Za-z0-9]*", enum.name), "ENUM_PASCAL_CASE", enum.name)
        self.check(not enum.options.allow_alias, "ENUM_NO_ALLOW_ALIAS", enum.name)
        self.check(enum.value[0].number == 0, "ENUM_FIRST_VALUE_ZERO", enum.name)
        prefix = snake(enum.name).upper() + "_"
        for i, value in enumerate(enum.value):
            self.commented(path + (2, i), "COMMENT_ENUM_VALUE", f"{enum.name}.{value.name}")
            self.check(re.fullmatch(r"[A-Z][A-Z0-9_]*", value.name), "ENUM_VALUE_UPPER_SNAKE_CASE", value.name)
            self.check(value.name.startswith(prefix), "ENUM_VALUE_PREFIX", f"{value.name}, wanted {prefix}…")
            if value.number == 0:
                self.check(value.name.endswith("_UNSPECIFIED"), "ENUM_ZERO_VALUE_SUFFIX", value.name)

    def message(self, message, path):
        if message.options.map_entry:
            return
        self.commented(path, "COMMENT_MESSAGE", f"message {message.name}")
        self.check(re.fullmatch(r"[A-Z][A-Za-z0-9]*", message.name), "MESSAGE_PASCAL_CASE", message.name)
        for i, field in enumerate(message.field):
            where = f"{message.name}.{field.name}"
            self.commented(path + (2, i), "COMMENT_FIELD", where)
            self.check(BEHAVIOUR.match(self.comments.get(path + (2, i), "").strip()), "FIELD_BEHAVIOUR",
                       f"{where}: its comment begins with neither Required., Optional., Output only. nor Immutable.")
            self.check(re.fullmatch(r"[a-z][a-z0-9_]*", field.name), "FIELD_LOWER_SNAKE_CASE", where)
            self.check(field.label != FIELD.LABEL_REQUIRED, "FIELD_NOT_REQUIRED", where)
        for i, oneof in enumerate(message.oneof_decl):
            if oneof.name.startswith("_"):
                continue  # of a proto3 optional field
            self.commented(path + (8, i), "COMMENT_ONEOF", f"{message.name}.{oneof.name}")
            self.check(re.fullmatch(r"[a-z][a-z0-9_]*", oneof.name), "ONEOF_LOWER_SNAKE_CASE", oneof.name)
        for i, nested in enumerate(message.nested_type):
            self.message(nested, path + (3, i))
        for i, enum in enumerate(message.enum_type):
            self.enum(enum, path + (4, i))

    def service(self, service, path):
        self.commented(path, "COMMENT_SERVICE", f"service {service.name}")
        self.check(re.fullmatch(r"[A-Z][A-Za-z0-9]*", service.name), "SERVICE_PASCAL_CASE", service.name)
        self.check(service.name.endswith("Service"), "SERVICE_SUFFIX", service.name)
        for i, method in enumerate(service.method):
            where = f"{service.name}.{method.name}"
            self.commented(path + (2, i), "COMMENT_RPC", where)
            self.check(re.fullmatch(r"[A-Z][A-Za-z0-9]*", method.name), "RPC_PASCAL_CASE", where)
            request = method.input_type.rsplit(".", 1)[-1]
            self.check(request in (method.name + "Request", service.name + method.name + "Request"),
                       "RPC_REQUEST_STANDARD_NAME", f"{where} takes {request}")
            reads = method.options.idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
            self.check(reads == bool(READS.match(method.name)), "READS_ARE_MARKED",
                       f"{where}: NO_SIDE_EFFECTS belongs to reads, and to all of them")
            fields = {field.name: field for field in self.find(method.input_type).field}
            if not reads:
                self.check("request_id" in fields or method.name in REPEATABLE, "REQUEST_ID", f"{where} has no request_id")
            if method.name.startswith("List"):
                self.listing(where, fields, self.find(method.output_type))

    def listing(self, where, fields, response):
        self.check(fields.get("page_size") is not None and fields["page_size"].type == FIELD.TYPE_INT32 and
                   fields.get("page_token") is not None, "LIST_PAGES", f"{where} has no page_size and page_token")
        first = [field for field in response.field if field.number == 1]
        self.check(first and first[0].label == FIELD.LABEL_REPEATED, "LIST_PAGES", f"{where}: items are not field 1")
        self.check(any(field.name == "next_page_token" for field in response.field), "LIST_PAGES",
                   f"{where} answers no next_page_token")

    def find(self, name):
        for file in self.files:
            for message in file.message_type:
                if f".{file.package}.{message.name}" == name:
                    return message
        return descriptor_pb2.DescriptorProto()


def surface(files):
    """What a release promises, as plain data."""
    out = {}
    for file in files:
        messages, enums = {}, {}

        def enum(prefix, one):
            enums[prefix + one.name] = {
                "values": {str(value.number): value.name for value in one.value},
                "reserved": sorted(one.reserved_name) + sorted(f"{r.start}-{r.end}" for r in one.reserved_range)}

        def message(prefix, one):
            fields = {}
            for field in one.field:
                oneof = one.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
                fields[str(field.number)] = {
                    "name": field.name, "json": field.json_name, "label": field.label, "type": field.type,
                    "of": field.type_name, "oneof": oneof}
            messages[prefix + one.name] = {
                "fields": fields,
                "reserved": sorted(one.reserved_name) + sorted(f"{r.start}-{r.end - 1}" for r in one.reserved_range)}
            for nested in one.nested_type:
                message(prefix + one.name + ".", nested)
            for nested in one.enum_type:
                enum(prefix + one.name + ".", nested)

        for one in file.message_type:
            message("", one)
        for one in file.enum_type:
            enum("", one)
        services = {service.name: {method.name: {
            "takes": method.input_type, "answers": method.output_type, "streams": [method.client_streaming,
                                                                                  method.server_streaming],
            "reads": method.options.idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS}
            for method in service.method} for service in file.service}
        out[file.name] = {"package": file.package, "syntax": file.syntax, "messages": messages, "enums": enums,
                          "services": services}
    return out


def is_reserved(reserved, number, name):
    ranges = [tuple(map(int, entry.split("-"))) for entry in reserved if re.fullmatch(r"\d+-\d+", entry)]
    return name in reserved and any(low <= int(number) <= high for low, high in ranges)


def breaking(before, now):
    """Findings of buf's category FILE; of WIRE_JSON for internal files."""
    found = []
    for name, old in before.items():
        if re.search(r"\.v\d+(alpha|beta)\d+$", old["package"]):
            continue
        internal, new = name in INTERNAL, now.get(name)
        if new is None:
            found.append(f"{name}: FILE_NO_DELETE")
            continue
        for key in ("package", "syntax"):
            if old[key] != new[key]:
                found.append(f"{name}: FILE_SAME_{key.upper()}: was {old[key]}, is {new[key]}")
        for message, was in old["messages"].items():
            if message not in new["messages"]:
                found.append(f"{name}: MESSAGE_NO_DELETE: {message}")
                continue
            is_ = new["messages"][message]
            for entry in set(was["reserved"]) - set(is_["reserved"]):
                found.append(f"{name}: RESERVED_MESSAGE_NO_DELETE: {message}: {entry}")
            for number, field in was["fields"].items():
                where = f"{name}: FIELD: {message}.{field['name']} = {number}"
                if number not in is_["fields"]:
                    if not (internal and is_reserved(is_["reserved"], number, field["name"])):
                        found.append(f"{where}: FIELD_NO_DELETE")
                    continue
                for key, value in field.items():
                    if is_["fields"][number][key] != value:
                        found.append(f"{where}: FIELD_SAME_{key.upper()}: was {value}, is {is_['fields'][number][key]}")
        for enum, was in old["enums"].items():
            if enum not in new["enums"]:
                found.append(f"{name}: ENUM_NO_DELETE: {enum}")
                continue
            is_ = new["enums"][enum]
            for entry in set(was["reserved"]) - set(is_["reserved"]):
                found.append(f"{name}: RESERVED_ENUM_NO_DELETE: {enum}: {entry}")
            for number, value in was["values"].items():
                if is_["values"].get(number) != value:
                    found.append(f"{name}: ENUM_VALUE_SAME_NAME: {enum}: {number} was {value}, is "
                                 f"{is_['values'].get(number, 'gone')}")
        for service, was in old["services"].items():
            for method, promise in was.items():
                is_ = new["services"].get(service, {}).get(method)
                if is_ != promise:
                    found.append(f"{name}: RPC: {service}.{method}: was {promise}, is {is_ or 'gone'}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renew", action="store_true", help="write released.json from proto/ as it is")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        files = compile_protos(PROTO, work)
    if arguments.renew:
        BASELINE.write_text(json.dumps(surface(files), indent=1, sort_keys=True) + "\n", "utf-8")
        print(f"wrote {BASELINE}")
        return 0
    found = Lint(files).run() + breaking(json.loads(BASELINE.read_text("utf-8")), surface(files))
    print("\n".join(found) if found else "no findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""Connects to a Retort server from Python: stubs made from the .proto files at run time, and a channel with mutual TLS.

Needs only Debian's python3-grpcio, python3-protobuf, protobuf-compiler and protobuf-compiler-grpc.
"""

import atexit
import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import grpc
from google.protobuf import json_format

_ROOT = pathlib.Path(__file__).resolve().parents[3]


class Stubs:
    """The generated modules that a client needs, under short names."""

    def __init__(self, proto_dir=_ROOT / "proto"):
        folder = _generate(pathlib.Path(proto_dir))
        sys.path.insert(0, folder)
        load = importlib.import_module
        self.jobs = load("retort.jobs.v1.jobs_pb2")
        self.job_spec = load("retort.jobs.v1.job_spec_pb2")
        self.jobs_grpc = load("retort.jobs.v1.jobs_pb2_grpc")
        self.ledger = load("retort.ledger.v1.ledger_pb2")
        self.ledger_grpc = load("retort.ledger.v1.ledger_pb2_grpc")
        self.teacher = load("retort.teacher.v1.teacher_pb2")
        self.teacher_grpc = load("retort.teacher.v1.teacher_pb2_grpc")
        self.server_config = load("retort.server.v1.server_config_pb2")
        self.status = load("google.rpc.status_pb2")
        self.error_details = load("google.rpc.error_details_pb2")

    def reason(self, error):
        """The reason (retort.ErrorReason) that a grpc.RpcError carries, or an empty string."""
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                for detail in self.status.Status.FromString(value).details:
                    info = self.error_details.ErrorInfo()
                    if detail.Unpack(info):
                        return info.reason
        return ""


def _generate(proto_dir):
    """Runs protoc over all .proto files; returns the folder of the modules, which goes when the program ends."""
    plugin = shutil.which("grpc_python_plugin")
    if plugin is None or shutil.which("protoc") is None:
        sys.exit("protoc or grpc_python_plugin is missing: apt install protobuf-compiler protobuf-compiler-grpc")
    folder = tempfile.mkdtemp(prefix="retort-stubs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    protos = sorted(str(path.relative_to(proto_dir)) for path in proto_dir.rglob("*.proto"))
    subprocess.run(
        ["protoc", f"-I{proto_dir}", f"--python_out={folder}", f"--grpc_out={folder}",
         f"--plugin=protoc-gen-grpc={plugin}", *protos], check=True)
    # google.rpc must not hide the google package that protobuf itself lives in.
    import google
    google.__path__.append(os.path.join(folder, "google"))
    return folder


def default_dev_dir():
    """Where `retortd --dev` leaves its address and the client's certificate."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.environ.get("RETORT_DEV_DIR") or os.path.join(state, "retort", "dev")


def connect(server, certificate, private_key, authorities):
    """A channel to host:port; both sides prove who they are."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=pathlib.Path(authorities).read_bytes(),
        private_key=pathlib.Path(private_key).read_bytes(),
        certificate_chain=pathlib.Path(certificate).read_bytes())
    return grpc.secure_channel(server, credentials, options=[("grpc.max_receive_message_length", 4 << 20)])


def connect_dev(dev_dir):
    """A channel to a running `retortd --dev`."""
    folder = pathlib.Path(dev_dir)
    endpoint = (folder / "endpoint").read_text().strip()
    return connect(endpoint, folder / "client.crt", folder / "client.key", folder / "ca.crt")


def job_spec_from_json(stubs, path):
    """A JobSpec from JSON: field names as in job_spec.proto; an unknown name is an error."""
    with open(path, encoding="utf-8") as file:
        return json_format.ParseDict(json.load(file), stubs.job_spec.JobSpec())

#!/usr/bin/python3
"""Makes a release of a built tree: an archive, what it is made of, checksums, and a signature over them.

    deploy/release/release.py --build build/release --out out/release [--key release.key]

    retort-VERSION-ARCH.tar.gz   what `cmake --install --prefix /usr/local` installs; the same tree gives the same bytes
    retort-VERSION-ARCH.cdx.json CycloneDX 1.6: every library that the programs load, with its Debian package and version, and the
                                 header-only ones that they were compiled from
    SHA256SUMS                   of both
    SHA256SUMS.sig               with --key: ECDSA over SHA256SUMS, DER; the key is PEM, for example of
                                 `openssl ecparam -name prime256v1 -genkey -noout -out release.key`

To verify, with the public key from a place that is not the download:

    openssl dgst -sha256 -verify release.pub -signature SHA256SUMS.sig SHA256SUMS && sha256sum --check SHA256SUMS

SOURCE_DATE_EPOCH, the commit's time when it is not set, is the only clock that gets into a file.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import uuid

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Compiled into the programs, so no loader names them: Debian package and the header that tells its version is in use.
HEADER_ONLY = ("libboost1.74-dev", "libcli11-dev", "nlohmann-json3-dev")
ELF = b"\x7fELF"


def run(*command):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout


def version():
    return re.search(r"project\(retort VERSION ([0-9.]+)", (REPOSITORY / "CMakeLists.txt").read_text())[1]


def epoch():
    return int(os.environ.get("SOURCE_DATE_EPOCH") or run("git", "log", "-1", "--format=%ct"))


def install(build, folder):
    subprocess.run(["cmake", "--install", build, "--prefix", "/usr/local"], check=True, capture_output=True,
                   env={**os.environ, "DESTDIR": str(folder)})


def archive(folder, path, seconds):
    """Files in order of their names, owned by root, with one time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for file in sorted(folder.rglob("*")):
            member = tar.gettarinfo(file, arcname=str(file.relative_to(folder)))
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            member.mtime = seconds
            member.mode = 0o755 if file.is_dir() or os.access(file, os.X_OK) else 0o644
            with open(file, "rb") if file.is_file() else io.BytesIO() as content:
                tar.addfile(member, content if file.is_file() else None)
    with open(path, "wb") as out, gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=0) as zipped:
        zipped.write(packed.getvalue())


def loaded_libraries(folder):
    """Real paths of the shared objects that the installed programs load, by the loader's own word."""
    found = set()
    for file in folder.rglob("*"):
        if not file.is_file() or file.open("rb").read(4) != ELF:
            continue
        for line in run("ldd", file).splitlines():
            if "not found" in line:
                sys.exit(f"release: {file.name}: {line.strip()}")
            if match := re.search(r"(/[^ ]+) \(0x", line):
                library = pathlib.Path(match[1]).resolve()
                if not library.is_relative_to(folder):
                    found.add(library)
    return sorted(found)


def owner(library):
    """The Debian package that a file belongs to. dpkg may know it by the path before /lib became a link to /usr/lib."""
    for path in (library, pathlib.Path(str(library).removeprefix("/usr"))):
        known = subprocess.run(["dpkg-query", "-S", str(path)], capture_output=True, text=True)
        if known.returncode == 0:
            return known.stdout.split(": ")[0].split(",")[0].split(":")[0]
    sys.exit(f"release: no Debian package owns {library}; the bill of materials would be incomplete")


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def package_component(package, libraries):
    name, number, architecture = run("dpkg-query", "-W", "-f=${Package}\t${Version}\t${Architecture}", package).split("\t")
    reference = f"pkg:deb/debian/{name}@{number}?arch={architecture}&distro=debian-12"
    component = {"type": "library", "bom-ref": reference, "name": name, "version": number, "purl": reference}
    if libraries:
        component["components"] = [
            {"type": "file", "bom-ref": f"{reference}#{library.name}", "name": library.name,
             "hashes": [{"alg": "SHA-256", "content": digest(library)}]} for library in libraries]
    return component


def bill(components, root, kind, sha256, seconds):
    """A bill for what has this digest; `root` is its package URL, `kind` the type that CycloneDX gives it."""
    stamp = subprocess.run(["date", "-u", "-d", f"@{seconds}", "+%Y-%m-%dT%H:%M:%SZ"], check=True, capture_output=True,
                           text=True).stdout.strip()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6",
        # Named after what it describes, so that the same bytes have the same bill.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, sha256)}", "version": 1,
        "metadata": {
            "timestamp": stamp, "lifecycles": [{"phase": "build"}],
            "component": {"type": kind, "bom-ref": root, "name": "retort", "version": version(), "purl": root,
                          "licenses": [{"license": {"id": "Apache-2.0"}}],
                          "hashes": [{"alg": "SHA-256", "content": sha256}]}},
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": [component["bom-ref"] for component in components]}],
    }


def bill_of_materials(folder, archive_path, seconds):
    packages = {name: [] for name in HEADER_ONLY}
    for library in loaded_libraries(folder):
        packages.setdefault(owner(library), []).append(library)
    components = [package_component(name, libraries) for name, libraries in sorted(packages.items())]
    return bill(components, f"pkg:generic/retort@{version()}", "application", digest(archive_path), seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--key", type=pathlib.Path)
    flags = parser.parse_args()
    if flags.key and not flags.key.is_file():
        sys.exit(f"release: --key {flags.key} is not there; nothing was made")
    flags.out.mkdir(parents=True, exist_ok=True)
    architecture = run("dpkg", "--print-architecture").strip()
    stem = flags.out / f"retort-{version()}-{architecture}"
    packed, materials = pathlib.Path(f"{stem}.tar.gz"), pathlib.Path(f"{stem}.cdx.json")
    with tempfile.TemporaryDirectory(prefix="retort-release-") as scratch:
        folder = pathlib.Path(scratch)
        install(flags.build.resolve(), folder)
        archive(folder, packed, epoch())
        materials.write_text(json.dumps(bill_of_materials(folder, packed, epoch()), indent=2) + "\n")
    sums = flags.out / "SHA256SUMS"
    sums.write_text("".join(f"{digest(path)}  {path.name}\n" for path in (packed, materials)))
    made = [packed, materials, sums]
    if flags.key:
        signature = flags.out / "SHA256SUMS.sig"
        run("openssl", "dgst", "-sha256", "-sign", flags.key.resolve(), "-out", signature.resolve(), sums.resolve())
        made.append(signature)
    for path in made:
        print(f"{path.stat().st_size:>11}  {path}")


if __name__ == "__main__":
    main()

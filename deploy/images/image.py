#!/usr/bin/python3
"""Makes an OCI image of a built tree, without a daemon and without root: the programs, the libraries that they load, and nothing else.

    deploy/images/image.py --build build/release --out out/image                    the server
    deploy/images/image.py --build build/release --out out/worker \\
        --cuda build/kernels/libretort_cuda.so                                      a GPU worker, with NVIDIA's libraries

    OUT/            an OCI image layout (image-spec 1.1): `skopeo copy oci:out/image docker://registry/retort:1.0`,
                    or `podman pull oci:out/image`
    OUT.cdx.json    its bill of materials (CycloneDX 1.6)

There is no shell, no package manager and no set-uid file in it. It runs as user 65532 and writes to /var/lib/retort and /tmp alone, so
its root may be read-only. The same tree on the same Debian packages gives the same bytes; SOURCE_DATE_EPOCH, the commit's time when it is
not set, is the only clock in it.
"""

import argparse
import gzip
import hashlib
import io
import json
import pathlib
import re
import shutil
import sys
import tarfile
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "deploy" / "release"))
import release  # noqa: E402

USER = 65532
CERTIFICATES = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")  # for teachers over HTTPS
NVIDIA = "usr/local/lib/nvidia"
FILES = {
    "etc/passwd": f"root:x:0:0:root:/:/nonexistent\nretort:x:{USER}:{USER}:retort:/var/lib/retort:/nonexistent\n",
    "etc/group": f"root:x:0:\nretort:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def loaded(path):
    """{name that the loader asks for: real file} of one program or library, all the way down."""
    found = {}
    for line in release.run("ldd", path).splitlines():
        if "not found" in line:
            sys.exit(f"image: {path}: {line.strip()}")
        if match := re.search(r"(/[^ ]+) \(0x", line):
            found[match[1]] = pathlib.Path(match[1]).resolve()
    return found


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == release.ELF


def place(source, root, name):
    target = root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target


def wheel_of(library):
    """(package, version, folder of its records) of a library that came in a wheel."""
    for record in sorted(library.parents[3].glob("*.dist-info/RECORD")):
        if any(line.split(",")[0].endswith("/" + library.name) for line in record.read_text().splitlines()):
            name, number = record.parent.name.removesuffix(".dist-info").rsplit("-", 1)
            return name.replace("_", "-"), number, record.parent
    sys.exit(f"image: no Debian package and no wheel owns {library}; the bill of materials would be incomplete")


def lay_out(build, cuda, base, ours):
    """Fills the folders of the two layers; returns the bill's components."""
    release.install(build.resolve(), ours)
    for unwanted in ("usr/local/share/doc", "usr/local/share/man", "usr/local/share/bash-completion", "usr/local/share/zsh",
                     "usr/local/share/fish", "lib", "usr/local/lib", "usr/lib", "usr/local/etc"):
        shutil.rmtree(ours / unwanted, ignore_errors=True)
    if cuda:
        place(cuda, ours, "usr/local/bin/libretort_cuda.so")
    packages, wheels = {name: [] for name in release.HEADER_ONLY}, {}
    libraries = {}
    for program in sorted((ours / "usr/local/bin").iterdir()):
        if is_elf(program):
            libraries |= loaded(cuda if cuda and program.name == "libretort_cuda.so" else program)
    if cuda:  # cuBLAS asks for this one by itself, when it is first used
        for name, real in list(libraries.items()):
            if (light := real.with_name(real.name.replace("libcublas.so", "libcublasLt.so"))) != real and light.exists():
                libraries[str(light)] = light.resolve()
    for name, real in sorted(libraries.items()):
        if str(real).startswith("/usr/") or str(real).startswith("/lib"):
            folder = "lib64" if name.startswith("/lib64/") else str(real.parent).lstrip("/")
            packages.setdefault(release.owner(real), []).append(place(real, base, f"{folder}/{pathlib.Path(name).name}"))
        else:
            package, number, records = wheel_of(real)
            wheels.setdefault((package, number), []).append(place(real, base, f"{NVIDIA}/{pathlib.Path(name).name}"))
            for licence in records.rglob("License*"):
                place(licence, base, f"usr/share/doc/{package}/copyright")
    for loader in (base / "lib64").iterdir():
        loader.chmod(0o755)
    (base / "lib").symlink_to("usr/lib")
    packages["ca-certificates"] = [place(CERTIFICATES, base, str(CERTIFICATES).lstrip("/"))]
    for package in packages:
        place(f"/usr/share/doc/{package}/copyright", base, f"usr/share/doc/{package}/copyright")
    for name, text in FILES.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    for name in ("tmp", "proc", "sys", "dev", "var/lib/retort", "etc/retort"):
        (base / name).mkdir(parents=True)
    (base / "tmp").chmod(0o1777)
    place(REPOSITORY / "LICENSE", ours, "usr/share/doc/retort/copyright")
    return ([release.package_component(name, files) for name, files in sorted(packages.items())] +
            [wheel_component(name, number, files) for (name, number), files in sorted(wheels.items())])


def wheel_component(name, number, files):
    reference = f"pkg:pypi/{name}@{number}"
    return {"type": "library", "bom-ref": reference, "name": name, "version": number, "purl": reference,
            "components": [{"type": "file", "bom-ref": f"{reference}#{file.name}", "name": file.name,
                            "hashes": [{"alg": "SHA-256", "content": release.digest(file)}]} for file in files]}


class Layout:
    """An OCI image layout that is being written."""

    def __init__(self, folder):
        self.blobs = folder / "blobs" / "sha256"
        self.blobs.mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.folder = folder

    def blob(self, data, media_type):
        name = hashlib.sha256(data).hexdigest()
        (self.blobs / name).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}

    def json(self, value, media_type):
        return self.blob(json.dumps(value, sort_keys=True, separators=(",", ":")).encode(), media_type)


def layer(folder, seconds):
    """The bytes of a tar: sorted, one time, of root but for what the server writes to; nothing is set-uid."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(folder.rglob("*")):
            name = str(file.relative_to(folder))
            member = tar.gettarinfo(file, arcname=name)
            member.uid = member.gid = USER if name == "var/lib/retort" else 0
            member.uname = member.gname = ""
            member.mtime = seconds
            if name == "tmp":
                member.mode = 0o1777
            elif name == "var/lib/retort":
                member.mode = 0o700
            elif not file.is_symlink():
                runs = file.is_dir() or name.startswith(("usr/local/bin/", "lib64/"))
                member.mode = 0o755 if runs else 0o644
            with open(file, "rb") if member.isfile() else io.BytesIO() as content:
                tar.addfile(member, content if member.isfile() else None)
    return packed.getvalue()


def pack(data):
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0, compresslevel=6) as zipped:
        zipped.write(data)
    return packed.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--cuda", type=pathlib.Path, help="libretort_cuda.so, as `make kernels` builds it")
    parser.add_argument("--rootfs", type=pathlib.Path, help="also leave the files here, for a Dockerfile to copy")
    flags = parser.parse_args()
    if flags.out.exists():
        sys.exit(f"image: {flags.out} is there; nothing was made")
    if flags.cuda and not flags.cuda.is_file():
        sys.exit(f"image: --cuda {flags.cuda} is no file; `make kernels` builds it")
    seconds = release.epoch()
    stamp = release.run("date", "-u", "-d", f"@{seconds}", "+%Y-%m-%dT%H:%M:%SZ").strip()
    architecture = release.run("dpkg", "--print-architecture").strip()
    flags.cuda = flags.cuda and flags.cuda.resolve()
    layout = Layout(flags.out)
    with tempfile.TemporaryDirectory(prefix="retort-image-") as scratch:
        base, ours = pathlib.Path(scratch) / "base", pathlib.Path(scratch) / "ours"
        base.mkdir(), ours.mkdir()
        components = lay_out(flags.build, flags.cuda, base, ours)
        tars = [layer(base, seconds), layer(ours, seconds)]
        for folder in (base, ours) if flags.rootfs else ():
            shutil.copytree(folder, flags.rootfs, symlinks=True, dirs_exist_ok=True)
    environment = ["PATH=/usr/local/bin"] + ([f"LD_LIBRARY_PATH=/{NVIDIA}"] if flags.cuda else [])
    labels = {"org.opencontainers.image.title": "retort", "org.opencontainers.image.version": release.version(),
              "org.opencontainers.image.licenses": "Apache-2.0", "org.opencontainers.image.created": stamp}
    config = layout.json({
        "architecture": architecture, "os": "linux", "created": stamp,
        "config": {"User": f"{USER}:{USER}", "Env": environment, "Entrypoint": ["/usr/local/bin/retortd"], "WorkingDir": "/",
                   "StopSignal": "SIGTERM", "Labels": labels, "Volumes": {"/var/lib/retort": {}}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]},
        "history": [{"created": stamp, "created_by": "deploy/images/image.py: libraries of Debian 12"},
                    {"created": stamp, "created_by": "deploy/images/image.py: retort"}],
    }, "application/vnd.oci.image.config.v1+json")
    manifest = layout.json({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
        "layers": [layout.blob(pack(tar), "application/vnd.oci.image.layer.v1.tar+gzip") for tar in tars], "annotations": labels,
    }, "application/vnd.oci.image.manifest.v1+json")
    manifest |= {"platform": {"architecture": architecture, "os": "linux"},
                 "annotations": {"org.opencontainers.image.ref.name": release.version()}}
    (flags.out / "index.json").write_text(json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest]}, sort_keys=True))
    bill = pathlib.Path(f"{flags.out}.cdx.json")
    bill.write_text(json.dumps(release.bill(components, f"pkg:oci/retort@{manifest['digest']}", "container",
                                            manifest["digest"].removeprefix("sha256:"), seconds), indent=2) + "\n")
    size = sum(blob.stat().st_size for blob in layout.blobs.iterdir())
    print(f"{size:>11}  {flags.out}  {manifest['digest']}\n{bill.stat().st_size:>11}  {bill}")


if __name__ == "__main__":
    main()

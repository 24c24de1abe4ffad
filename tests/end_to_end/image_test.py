"""The OCI image: the same bytes twice, nothing in it that should not be, and it serves from a root that is read-only.

    image_test.py --bin build/release/bin
"""

import argparse
import gzip
import hashlib
import json
import os
import pathlib
import stat
import subprocess
import sys
import tarfile
import tempfile
import unittest

import cluster as e2e

BIN = None
INSIDE = "RETORT_TEST_NAMESPACE"
UNSHARE = ["unshare", "--map-root-user", "--mount"]

# Makes the folder a root that cannot be written to, with what a runtime mounts, and starts the program in it.
ENTER = """
root=$1; state=$2; shift 2
mount --bind "$root" "$root" && mount -o remount,bind,ro "$root" && mount --rbind /proc "$root/proc" && mount --rbind /dev "$root/dev" &&
mount -t tmpfs tmpfs "$root/tmp" && mount --bind "$state" "$root/var/lib/retort" && exec chroot "$root" "$@"
"""


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="retort-image-test-")
        cls.addClassCleanup(folder.cleanup)
        cls.work = pathlib.Path(folder.name)
        for name in ("first", "second"):
            done = cls.make(name)
            assert done.returncode == 0, done.stderr
        index = json.loads((cls.work / "first" / "index.json").read_text())
        cls.manifest = json.loads(cls.blob(index["manifests"][0]))
        cls.config = json.loads(cls.blob(cls.manifest["config"]))
        cls.root = cls.work / "root"
        cls.members = []
        for number, layer in enumerate(cls.manifest["layers"]):
            path = cls.work / f"layer{number}.tar"
            path.write_bytes(gzip.decompress(cls.blob(layer)))
            with tarfile.open(path) as tar:
                cls.members += tar.getmembers()
                tar.extractall(cls.root, filter="tar") if hasattr(tarfile, "tar_filter") else tar.extractall(cls.root)

    @classmethod
    def make(cls, name):
        return subprocess.run([sys.executable, "-B", e2e.REPOSITORY / "deploy/images/image.py", "--build", BIN.parent, "--out",
                               cls.work / name], capture_output=True, text=True, timeout=300,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SOURCE_DATE_EPOCH": "1700000000"})

    @classmethod
    def blob(cls, descriptor):
        """Its bytes, which are what the descriptor says."""
        data = (cls.work / "first" / "blobs" / "sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()
        assert len(data) == descriptor["size"]
        assert "sha256:" + hashlib.sha256(data).hexdigest() == descriptor["digest"]
        return data

    def test_the_same_tree_gives_the_same_bytes(self):
        first, second = ({str(path.relative_to(self.work / name)): path.read_bytes()
                          for path in (self.work / name).rglob("*") if path.is_file()} for name in ("first", "second"))
        self.assertEqual(first, second)
        self.assertEqual((self.work / "first.cdx.json").read_bytes(), (self.work / "second.cdx.json").read_bytes())
        self.assertIn("is there", self.make("second").stderr)  # and nothing is overwritten

    def test_layers_are_what_the_configuration_says(self):
        for layer, diff_id in zip(self.manifest["layers"], self.config["rootfs"]["diff_ids"], strict=True):
            self.assertEqual("sha256:" + hashlib.sha256(gzip.decompress(self.blob(layer))).hexdigest(), diff_id)
        self.assertEqual(self.config["config"]["User"], "65532:65532")

    def test_there_is_no_shell_and_nothing_beyond_what_is_loaded(self):
        programs = {member.name for member in self.members if member.isfile() and member.mode & 0o111}
        self.assertEqual(programs, {"lib64/ld-linux-x86-64.so.2", *(f"usr/local/bin/{name}" for name in ("retort", "retortd", "retort-train"))})
        for member in self.members:
            self.assertFalse(member.mode & (stat.S_ISUID | stat.S_ISGID), member.name)
            self.assertFalse(member.mode & 0o002 and not member.issym() and member.name != "tmp", member.name)
            self.assertTrue(member.isfile() or member.isdir() or member.issym(), member.name)

    def test_every_file_of_a_package_is_in_the_bill(self):
        bill = json.loads((self.work / "first.cdx.json").read_text())
        known = {file["hashes"][0]["content"] for component in bill["components"] for file in component.get("components", [])}
        for member in self.members:
            if member.isfile() and ".so" in member.name:
                self.assertIn(hashlib.sha256((self.root / member.name).read_bytes()).hexdigest(), known, member.name)
        self.assertEqual(bill["metadata"]["component"]["type"], "container")

    @unittest.skipUnless(subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0,
                         "no mount namespace may be made here (unshare --map-root-user --mount)")
    def test_it_serves_from_a_read_only_root(self):
        state = self.work / "state"
        state.mkdir(mode=0o700)

        def inside(*command, **how):
            environment = dict(entry.split("=", 1) for entry in self.config["config"]["Env"]) | {"HOME": "/var/lib/retort"}
            return [*UNSHARE, "/bin/sh", "-c", ENTER, "sh", str(self.root), str(state), *command], dict(how, env={
                **environment, "PATH": environment["PATH"] + ":/usr/sbin:/usr/bin:/sbin:/bin"})

        command, how = inside(*self.config["config"]["Entrypoint"], "--dev", "--data-dir", "/var/lib/retort", "--listen", "127.0.0.1:0")
        with open(self.work / "log", "wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, **how)
        try:
            endpoint = state / "dev" / "endpoint"

            def serving():
                assert server.poll() is None, (self.work / "log").read_text()
                return endpoint.exists()

            e2e.wait_until("the image serves", 60, serving)
            dev = state / "dev"
            flags = ["--server", endpoint.read_text().strip(), "--tls-ca", dev / "ca.crt", "--tls-cert", dev / "client.crt", "--tls-key",
                     dev / "client.key"]
            listed = subprocess.run([BIN / "retort", *flags, "policy", "list"], capture_output=True, text=True, timeout=60)
            self.assertEqual(listed.returncode, 0, listed.stderr)
            self.assertIn("smollm2", listed.stdout)
            command, how = inside("/usr/local/bin/retort", "--dev-dir", "/var/lib/retort/dev", "doctor")
            doctor = subprocess.run(command, capture_output=True, text=True, timeout=60, **how)
            self.assertEqual(doctor.returncode, 0, doctor.stdout + doctor.stderr)
        finally:
            server.terminate()
            self.assertEqual(server.wait(timeout=60), 0)
        self.assertNotIn("Read-only file system", (self.work / "log").read_text())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    known, rest = parser.parse_known_args()
    BIN = pathlib.Path(os.path.abspath(known.bin))
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)

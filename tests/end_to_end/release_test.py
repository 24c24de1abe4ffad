"""What is published: the same bytes twice, a complete bill of materials, and a signature that holds and fails as it should.

    release_test.py --bin build/release/bin
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BIN = None


class Release(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="retort-release-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.work = pathlib.Path(cls.folder.name)
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", cls.work / "key"], check=True,
                       capture_output=True)
        subprocess.run(["openssl", "ec", "-in", cls.work / "key", "-pubout", "-out", cls.work / "pub"], check=True,
                       capture_output=True)
        for name in ("first", "second"):
            run = cls.release(name, "--key", cls.work / "key")
            assert run.returncode == 0, run.stderr
        cls.first = cls.work / "first"

    @classmethod
    def release(cls, name, *flags):
        return subprocess.run([sys.executable, "-B", REPOSITORY / "deploy/release/release.py", "--build", BIN.parent, "--out",
                               cls.work / name, *flags], capture_output=True, text=True, timeout=300,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SOURCE_DATE_EPOCH": "1700000000"})

    def verify(self, folder):
        return subprocess.run(["openssl", "dgst", "-sha256", "-verify", self.work / "pub", "-signature", "SHA256SUMS.sig",
                               "SHA256SUMS"], cwd=folder, capture_output=True).returncode

    def test_the_same_tree_gives_the_same_bytes(self):
        names = sorted(path.name for path in self.first.iterdir())
        self.assertEqual(len(names), 4, names)
        for name in names:
            if not name.endswith(".sig"):  # ECDSA draws a nonce
                self.assertEqual((self.first / name).read_bytes(), (self.work / "second" / name).read_bytes(), name)

    def test_the_signature_covers_every_file(self):
        self.assertEqual(self.verify(self.first), 0)
        for line in (self.first / "SHA256SUMS").read_text().splitlines():
            sha256, name = line.split("  ")
            self.assertEqual(hashlib.sha256((self.first / name).read_bytes()).hexdigest(), sha256)
        changed = self.work / "second" / "SHA256SUMS"
        changed.write_text(changed.read_text().replace("0", "1", 1))
        self.assertNotEqual(self.verify(self.work / "second"), 0)

    def test_the_archive_holds_the_programs_as_root_owns_them(self):
        with tarfile.open(next(self.first.glob("*.tar.gz"))) as tar:
            members = {member.name: member for member in tar}
        self.assertTrue({"usr/local/bin/retort", "usr/local/bin/retortd", "usr/local/bin/retort-train"} <= members.keys())
        self.assertEqual({(member.uid, member.mtime) for member in members.values()}, {(0, 1700000000)})
        self.assertEqual(members["usr/local/bin/retortd"].mode, 0o755)

    def test_the_bill_names_what_the_programs_load(self):
        bill = json.loads(next(self.first.glob("*.cdx.json")).read_text())
        self.assertEqual((bill["bomFormat"], bill["specVersion"], bill["version"]), ("CycloneDX", "1.6", 1))
        names = {component["name"] for component in bill["components"]}
        for prefix in ("libgrpc++", "libprotobuf", "librocksdb", "libssl", "libc6", "libcurl", "nlohmann-json3-dev", "libcli11-dev",
                       "libboost1.74-dev", "zlib1g"):
            self.assertTrue(any(name.startswith(prefix) for name in names), (prefix, names))
        references = [component["bom-ref"] for component in bill["components"]]
        self.assertEqual(len(references), len(set(references)))
        self.assertEqual(sorted(bill["dependencies"][0]["dependsOn"]), sorted(references))
        packed = hashlib.sha256(next(self.first.glob("*.tar.gz")).read_bytes()).hexdigest()
        self.assertEqual(bill["metadata"]["component"]["hashes"], [{"alg": "SHA-256", "content": packed}])

    def test_a_missing_key_makes_nothing(self):
        run = self.release("third", "--key", "/nowhere")
        self.assertEqual(run.returncode, 1)
        self.assertIn("--key /nowhere is not there", run.stderr)
        self.assertFalse((self.work / "third").exists())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    known, rest = parser.parse_known_args()
    BIN = known.bin.resolve()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)

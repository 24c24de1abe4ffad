"""The independent verifier accepts an honest pack and refuses every damaged one; so the format page is complete.

    evidence_pack_test.py --make-evidence build/release/bin/make_evidence
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import verify_evidence as ours

MAKE_EVIDENCE = None
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "formats" / "ledger.md"


def refused(folder, vkey):
    """What is wrong with the pack; None when it verifies."""
    try:
        ours.Pack(folder, vkey).verify()
    except ours.Failed as error:
        return str(error)
    return None


class EvidencePack(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="retort-conformance-"))
        subprocess.run([MAKE_EVIDENCE, cls.folder], check=True, timeout=120)
        cls.pack, cls.vkey = cls.folder / "pack", (cls.folder / "log.vkey").read_text().strip()
        # Arithmetic in Python takes 10 ms a signature and the pack has hundreds, most of them the same in every test.
        verified, slow = {}, ours.ed25519_verifies

        def remembered(*arguments):
            if arguments not in verified:
                verified[arguments] = slow(*arguments)
            return verified[arguments]

        ours.ed25519_verifies = remembered

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def damaged(self, path, change):
        """The verdict about the pack with the bytes of one file changed."""
        target = self.pack / path
        honest = target.read_bytes()
        try:
            target.write_bytes(change(honest))
            return refused(self.pack, self.vkey)
        finally:
            target.write_bytes(honest)

    @staticmethod
    def flip(at):
        return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]

    def bundle(self):
        return min(path.relative_to(self.pack) for path in (self.pack / "tile/entries").rglob("*") if path.is_file())

    def test_honest_pack_verifies(self):
        pack = ours.Pack(self.pack, self.vkey)
        size, _ = pack.verify()
        self.assertGreater(size, 256)  # more than one bundle
        self.assertEqual(set(pack.counts), {name for name, _ in ours.KINDS.values()})  # every kind of entry

    def test_flipped_byte_of_any_file_is_noticed(self):
        for path in sorted(self.pack.rglob("*")):
            if path.is_dir():
                continue
            name = path.relative_to(self.pack)
            size = path.stat().st_size
            for at in sorted({0, size // 3, size - 1}):
                with self.subTest(file=str(name), byte=at):
                    self.assertIsNotNone(self.damaged(name, self.flip(at)))

    def test_damage_is_named(self):
        bundle = self.bundle()
        data = (self.pack / bundle).read_bytes()
        capture, decision = data.index(b'"account_class"'), data.index(b'"effect":"allow"')
        self.assertIn("capture: signature does not verify", self.damaged(bundle, self.flip(capture + 3)))
        self.assertIn("decision: signature does not verify", self.damaged(bundle, self.flip(decision + 12)))
        self.assertIn("model.safetensors", self.damaged("student/model.safetensors", self.flip(3)))
        note = (self.pack / "checkpoint").read_bytes()
        self.assertIn("signature", self.damaged("checkpoint", self.flip(note.index(b"\n\n") - 3)))

    def test_missing_and_additional_files_are_noticed(self):
        for path in ("student/model.safetensors", "checkpoint", str(self.bundle())):
            away = self.folder / "away"
            shutil.move(self.pack / path, away)
            try:
                self.assertIn(path, refused(self.pack, self.vkey))
            finally:
                shutil.move(away, self.pack / path)
        extra = self.pack / "student" / "extra.bin"
        extra.write_bytes(b"x")
        try:
            self.assertIn("extra.bin", refused(self.pack, self.vkey))
        finally:
            extra.unlink()

    def test_truncated_log_is_noticed(self):
        self.assertIn("ends too early", self.damaged(self.bundle(), lambda data: data[:-1]))

    def test_another_key_is_refused(self):
        page = PAGE.read_text()
        other = page.split("```vkey\n")[1].split("\n")[0]
        self.assertIn("origin", refused(self.pack, other))


class WorkedExample(unittest.TestCase):
    """The hex of the page, recomputed."""

    def block(self, kind, number=0):
        return self.page.split(f"```{kind}\n")[number + 1].split("```")[0]

    def setUp(self):
        self.page = PAGE.read_text()

    def test_leaves_root_and_checkpoint(self):
        vkey = self.block("vkey").strip()
        hashes = []
        for number in (0, 1):
            leaf = bytes.fromhex(self.block("leaf", number).replace("\n", ""))
            kind, _, [(statement_kind, body, key_id, signature)] = ours.parse_entry(leaf)
            self.assertEqual(ours.KINDS[kind][0], "KEY")
            self.assertEqual(body.decode(), self.block("statement", number).strip())
            self.assertEqual(key_id, ours.sha256(ours.parse_vkey(vkey)[2]))
            self.assertTrue(ours.ed25519_verifies(ours.parse_vkey(vkey)[2], ours.signed_bytes(statement_kind, body), signature))
            hashes.append(ours.sha256(b"\x00" + leaf))
            self.assertEqual(hashes[-1].hex(), self.block("hash", number).strip())
        self.assertEqual(ours.tree_root(hashes).hex(), self.block("root").strip())
        self.assertEqual(ours.parse_checkpoint(self.block("note").encode(), vkey), (2, ours.tree_root(hashes)))


class Usage(unittest.TestCase):
    def test_costs_are_computed_again(self):
        self.assertEqual(ours.cost("2.5", "5400", 3600), "3.75")
        self.assertEqual(ours.cost("0.000000001", "0.5", 1), "0.000000001")  # half is rounded up
        self.assertEqual(ours.cost("0.000000001", "0.4", 1), "0")
        self.assertEqual(ours.cost("10", "10", 1), "100")
        self.assertEqual(ours.cost("", "10", 1), "")


class Ed25519(unittest.TestCase):
    def test_vector_of_the_rfc(self):
        # RFC 8032 section 7.1, TEST 2.
        key = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
        signature = bytes.fromhex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                                  "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")
        self.assertTrue(ours.ed25519_verifies(key, b"\x72", signature))
        self.assertFalse(ours.ed25519_verifies(key, b"\x73", signature))
        self.assertFalse(ours.ed25519_verifies(key, b"\x72", signature[:63] + b"\x10"))  # s beyond the group's order


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--make-evidence", required=True)
    known, rest = parser.parse_known_args()
    MAKE_EVIDENCE = known.make_evidence
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)

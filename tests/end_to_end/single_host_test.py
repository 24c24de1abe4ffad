"""One host, as an operator sets it up: install, provision, start, use, restart, and what is refused.

    single_host_test.py --bin build/release/bin

Installs with DESTDIR into a folder of its own and runs the installed programs with the configuration that provision.sh wrote;
absolute paths in it are moved below that folder, which is the only difference to a host.
"""

import argparse
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BIN = None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class SingleHost(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="retort-host-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.root = pathlib.Path(cls.folder.name)
        cls.port = free_port()
        subprocess.run(["cmake", "--install", BIN.parent, "--prefix", "/usr/local"], check=True, capture_output=True,
                       env={**os.environ, "DESTDIR": str(cls.root)}, timeout=120)
        cls.provisioned = cls.provision("anna")

    @classmethod
    def provision(cls, *people, **changed):
        options = {"deployment": "retort.example", "host": f"localhost:{cls.port}", "root": str(cls.root), **changed}
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        arguments += [part for person in people for part in ("--person", person)]
        return subprocess.run([REPOSITORY / "deploy/systemd/provision.sh", *arguments], capture_output=True, text=True,
                              timeout=120)

    def installed(self, path):
        return self.root / path

    def retort(self, *arguments, person="anna"):
        certificate = self.root / "etc/retort/people" / person
        return subprocess.run(
            [self.installed("usr/local/bin/retort"), "--server", f"localhost:{self.port}", "--tls-ca",
             self.root / "etc/retort/tls/ca.crt", "--tls-cert", f"{certificate}.crt", "--tls-key", f"{certificate}.key",
             *arguments], capture_output=True, text=True, timeout=60)

    def unit(self):
        """Settings of the installed unit, the last of each name."""
        lines = self.installed("usr/local/lib/systemd/system/retortd.service").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    def start(self):
        config = self.root / "moved.yaml"
        text = (self.root / "etc/retort/retortd.yaml").read_text()
        for path in ("/etc/retort", "/var/lib/retort", "/usr/local"):
            text = text.replace(f" {path}", f" {self.root}{path}")
        config.write_text(text.replace("gguf: /var", f"gguf: {self.root}/var"))
        unit = self.unit()
        words = unit["ExecStart"].replace("${RETORT_ROLES}", unit["Environment"].split("=", 1)[1]).split()
        self.assertEqual(words[:3], ["/usr/local/bin/retortd", "--config", "/etc/retort/retortd.yaml"])
        log = self.enterContext(open(self.root / "retortd.log", "ab"))
        server = subprocess.Popen([f"{self.root}{words[0]}", "--config", config, *words[3:]], stdout=log, stderr=log)
        self.addCleanup(lambda: (server.poll() is None and server.kill(), server.wait()))
        for _ in range(600):
            self.assertIsNone(server.poll(), (self.root / "retortd.log").read_text())
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return server
            except OSError:
                time.sleep(0.1)
        self.fail((self.root / "retortd.log").read_text())

    def test_a_installs_what_a_host_needs(self):
        for path in ("bin/retort", "bin/retortd", "bin/retort-train", "share/retort/packs", "share/man/man1/retort.1",
                     "share/man/man1/retort-job-create.1", "share/bash-completion/completions/retort",
                     "share/zsh/site-functions/_retort", "share/fish/vendor_completions.d/retort.fish",
                     "lib/sysusers.d/retort.conf", "lib/tmpfiles.d/retort.conf", "lib/systemd/system/retortd.service"):
            self.assertTrue(self.installed(f"usr/local/{path}").exists(), path)
        unit = self.unit()
        self.assertEqual(unit["User"], "retort")
        self.assertEqual(unit["NoNewPrivileges"], "yes")
        self.assertGreater(int(unit["TimeoutStopSec"]), 30)  # ten for calls, twenty for a checkpoint
        self.assertNotIn("@", unit["ExecStart"])

    def test_b_the_unit_is_one_that_systemd_takes(self):
        if shutil.which("systemd-analyze") is None:
            self.skipTest("systemd-analyze is not installed")
        # --root looks for the program below it, as the installed host would.
        run = subprocess.run(["systemd-analyze", "verify", f"--root={self.root}", "--man=no", "--recursive-errors=no",
                              "/usr/local/lib/systemd/system/retortd.service"], capture_output=True, text=True, timeout=60)
        self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_c_provisioning_is_private_and_repeatable(self):
        self.assertEqual(self.provisioned.returncode, 0, self.provisioned.stderr)
        secrets = [*self.root.glob("etc/retort/**/*.key")]
        self.assertEqual(len(secrets), 10)  # seven keys, authority, server, anna
        for path in secrets:
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)
        before = {path: path.read_bytes() for path in self.root.glob("etc/retort/**/*") if path.is_file()}
        again = self.provision("anna", "bo")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertIn("kept ", again.stdout)
        for path, content in before.items():
            if path.suffix != ".srl":  # the authority counts what it signs
                self.assertEqual(path.read_bytes(), content, path)
        self.assertTrue((self.root / "etc/retort/people/bo.crt").exists())

    def test_d_refuses_what_it_cannot_use(self):
        for changed, people, said in (
                ({"deployment": "Two Words"}, ["anna"], "--deployment"), ({"host": "a b"}, ["anna"], "--host"),
                ({"host": "a:99x"}, ["anna"], "port"), ({}, [], "--person"), ({}, ["../x"], "--person"),
                ({"gguf": "/nowhere"}, ["anna"], "--gguf"), ({"gguf": "/etc/hostname"}, ["anna"], "SHA-256"),
                ({"prefix": "/nowhere"}, ["anna"], "cmake --install"), ({"colour": "red"}, ["anna"], "--colour")):
            run = self.provision(*people, **changed)
            self.assertEqual(run.returncode, 1, (changed, run.stdout))
            self.assertIn(said, run.stderr)

    def test_e_serves_who_was_provisioned_and_nobody_else(self):
        self.provision("bo")  # issued, and in no grant
        server = self.start()
        listed = self.retort("job", "list")
        self.assertEqual(listed.returncode, 0, listed.stderr + (self.root / "retortd.log").read_text())
        refused = self.retort("job", "list", person="bo")
        self.assertEqual(refused.returncode, 4, refused.stderr)
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(timeout=60), 0)
        self.start()  # on what it left
        self.assertEqual(self.retort("job", "list").returncode, 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    known, rest = parser.parse_known_args()
    BIN = known.bin.resolve()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)

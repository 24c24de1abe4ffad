"""From the start of `retortd --dev` to its first job accepted, on a new folder and on a used one.

    /usr/bin/python3 tests/bench/cold_start_bench.py --bin build/release/bin [--runs 10]

One JSON line, in milliseconds. A used folder has keys, certificates and a ledger that must be opened and checked.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "deploy" / "examples" / "python"))
import grpc  # noqa: E402
import retort_client  # noqa: E402


def start(binary, folder, stubs, spec, number):
    """Seconds from exec to the answer of CreateJob."""
    begin = time.monotonic()
    process = subprocess.Popen([binary / "retortd", "--dev", "--data-dir", folder, "--listen", "127.0.0.1:0", "--packs-dir",
                                REPOSITORY / "policy" / "packs"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        endpoint = folder / "dev" / "endpoint"
        while not endpoint.exists():
            assert process.poll() is None, f"retortd ended with {process.returncode}"
            time.sleep(0.001)
        dev = folder / "dev"
        channel = retort_client.connect(endpoint.read_text().strip(), dev / "client.crt", dev / "client.key", dev / "ca.crt")
        request = stubs.jobs.CreateJobRequest(parent="projects/kitchen", job_id=f"job-{number}", spec=spec)
        stubs.jobs_grpc.JobsServiceStub(channel).CreateJob(request, timeout=10, wait_for_ready=True)
        took = time.monotonic() - begin
        channel.close()
        return took
    finally:
        process.terminate()
        process.wait(timeout=60)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("--bin", required=True)
    arguments.add_argument("--runs", type=int, default=10)
    options = arguments.parse_args()
    binary, stubs = pathlib.Path(options.bin), retort_client.Stubs()
    spec = stubs.job_spec.JobSpec(teacher="embedded", prompt_licence="own", extract_only=True)
    spec.purpose.kind, spec.purpose.use, spec.purpose.name = "general_llm", "commercial", "cold"
    spec.purpose.competition.declared_by = "this benchmark"
    spec.prompts.add(id="p0", text="How long does rice take?", split="train")
    spec.sampling.top_p, spec.sampling.seed, spec.sampling.max_tokens, spec.sampling.top_logprobs = 1, 1, 4, 2
    new, used = [], []
    with tempfile.TemporaryDirectory(prefix="retort-cold-") as folder:
        for run in range(options.runs):
            place = pathlib.Path(folder) / str(run)
            place.mkdir(mode=0o700)
            new.append(start(binary, place, stubs, spec, 0))
            used.append(start(binary, place, stubs, spec, 1))
    ms = [[round(1000 * value) for value in sorted(values)] for values in (new, used)]
    print(json.dumps({"runs": options.runs, "new_ms": {"p50": ms[0][len(ms[0]) // 2], "max": ms[0][-1]},
                      "used_ms": {"p50": ms[1][len(ms[1]) // 2], "max": ms[1][-1]}}))
    return 0 if ms[0][-1] < 1000 and ms[1][-1] < 1000 else 1


if __name__ == "__main__":
    sys.exit(main())

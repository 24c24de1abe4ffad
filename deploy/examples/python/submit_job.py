#!/usr/bin/python3
"""Submits a distillation job to a Retort server and follows it to its end.

  submit_job.py --job kitchen.json
  submit_job.py --name tiny --prompts questions.txt --extract-only
  submit_job.py --server retort.example:7443 --certificate me.crt --private-key me.key --authorities ca.crt --job j.json

The job is a JSON file of a JobSpec (proto/retort/jobs/v1/job_spec.proto), or is made from arguments and a text file with
one prompt per line. Without --server, a `retortd --dev` of this user is used.

Exit code: 0 succeeded, 1 failed, 2 wrong usage, 3 refused by policy, 5 cancelled, 7 the server cannot be reached.
"""

import argparse
import pathlib
import sys
import uuid

import grpc

import retort_client

EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_CANCELLED, EXIT_UNREACHABLE = 1, 2, 3, 5, 7
RETRIES_MAX = 10  # of a broken watch, in a row


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_argument_group("server")
    where.add_argument("--server", help="host:port; needs the three files below")
    where.add_argument("--certificate", help="PEM file of this client's certificate")
    where.add_argument("--private-key", help="PEM file of its key")
    where.add_argument("--authorities", help="PEM file of the authorities that the server is checked against")
    where.add_argument("--dev-dir", default=retort_client.default_dev_dir(), help="folder that `retortd --dev` wrote")
    what = parser.add_argument_group("job")
    what.add_argument("--project", default="demo")
    what.add_argument("--job-id", default="", help="id of the job; the server chooses when empty")
    what.add_argument("--job", help="JSON file of a JobSpec")
    what.add_argument("--prompts", help="text file, one prompt per line; every eighth is held out")
    what.add_argument("--name", default="python-example", help="name of the student")
    what.add_argument("--teacher", default="embedded")
    what.add_argument("--max-tokens", type=int, default=32)
    what.add_argument("--top-logprobs", type=int, default=8)
    what.add_argument("--shape", default="nano")
    what.add_argument("--steps", type=int, default=40)
    what.add_argument("--extract-only", action="store_true", help="stop when the dataset is frozen")
    arguments = parser.parse_args()
    if bool(arguments.job) == bool(arguments.prompts):
        parser.error("give either --job or --prompts")
    if arguments.server and not (arguments.certificate and arguments.private_key and arguments.authorities):
        parser.error("--server needs --certificate, --private-key and --authorities")
    return arguments


def make_spec(stubs, arguments):
    """A JobSpec from the arguments. The purpose is what policy decides on, so every line of it is a declaration."""
    spec = stubs.job_spec.JobSpec(teacher=arguments.teacher, prompt_licence="own", extract_only=arguments.extract_only)
    purpose = spec.purpose
    purpose.kind, purpose.use, purpose.name = "general_llm", "commercial", arguments.name
    purpose.distributed = purpose.hosted = purpose.sold = False
    purpose.competition.declared_by = "the user of submit_job.py"
    purpose.monthly_active_users = 0
    purpose.base_model = ""
    lines = pathlib.Path(arguments.prompts).read_text(encoding="utf-8").splitlines()
    for number, text in enumerate(line for line in lines if line.strip()):
        spec.prompts.add(id=f"p{number}", text=text, split="held_out" if number % 8 == 7 else "train")
    spec.sampling.top_p, spec.sampling.seed = 1, 1
    spec.sampling.max_tokens, spec.sampling.top_logprobs = arguments.max_tokens, arguments.top_logprobs
    if not arguments.extract_only:
        spec.student.name, spec.student.shape = arguments.name, arguments.shape
        training = spec.training
        training.steps, training.batch_tokens, training.sequence_length = arguments.steps, 512, 128
        training.learning_rate, training.warmup_steps, training.cross_entropy_weight = 0.002, 4, 0.2
    return spec


def progress_line(job, state):
    progress = job.progress
    text = f"{state:<12} samples {progress.samples_done}/{progress.samples_total}"
    if progress.samples_review or progress.samples_denied or progress.samples_failed:
        text += (f" (review {progress.samples_review}, denied {progress.samples_denied},"
                 f" failed {progress.samples_failed})")
    if progress.steps_total:
        text += f"  steps {progress.steps_done}/{progress.steps_total}  loss {progress.loss:.3f}"
    return text


def watch(stubs, service, job):
    """Follows a job until it ends; a broken stream is taken up where it broke. Returns the job."""
    states = stubs.jobs.Job.State
    ended = {states.Value("STATE_SUCCEEDED"), states.Value("STATE_FAILED"), states.Value("STATE_CANCELLED")}
    token, failures, shown = "", 0, ""
    while job.state not in ended:
        try:
            for message in service.WatchJob(
                    stubs.jobs.WatchJobRequest(name=job.name, resume_token=token), timeout=24 * 3600):
                token, failures = message.resume_token, 0
                if message.HasField("job"):
                    job = message.job
                    line = progress_line(job, states.Name(job.state).removeprefix("STATE_").lower())
                    if line != shown:
                        print(line, flush=True)
                        shown = line
                if message.event:
                    print("  " + message.event, flush=True)
                if job.state in ended:
                    break
        except grpc.RpcError as error:
            failures += 1
            if error.code() == grpc.StatusCode.OUT_OF_RANGE:
                token = ""  # too old: the next stream begins with a snapshot
            elif error.code() != grpc.StatusCode.UNAVAILABLE or failures > RETRIES_MAX:
                raise
    return job


def report(stubs, job):
    for quality in job.quality:
        print(f"{quality.student:<10} KL {quality.kl:.3f}  agreement {quality.agreement:.3f}"
              f"  perplexity {quality.perplexity:.1f}  over {quality.tokens} tokens")
    state = stubs.jobs.Job.State.Name(job.state)
    if state == "STATE_SUCCEEDED":
        print(f"done: {job.name}" + (f", student {job.student}" if job.student else ""))
        return 0
    print(f"{state.removeprefix('STATE_').lower()}: {job.state_reason}: {job.state_message}", file=sys.stderr)
    if state == "STATE_CANCELLED":
        return EXIT_CANCELLED
    return EXIT_REFUSED if job.state_reason.startswith("POLICY_") else EXIT_FAILED


def main():
    arguments = parse_arguments()
    stubs = retort_client.Stubs()
    try:
        spec = retort_client.job_spec_from_json(stubs, arguments.job) if arguments.job else make_spec(stubs, arguments)
        if arguments.server:
            channel = retort_client.connect(arguments.server, arguments.certificate, arguments.private_key,
                                            arguments.authorities)
        else:
            channel = retort_client.connect_dev(arguments.dev_dir)
    except (OSError, ValueError, retort_client.json_format.ParseError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    with channel:
        service = stubs.jobs_grpc.JobsServiceStub(channel)
        try:
            # The request id makes this safe to repeat: the same id with the same job creates it once.
            job = service.CreateJob(
                stubs.jobs.CreateJobRequest(parent=f"projects/{arguments.project}", spec=spec, job_id=arguments.job_id,
                                            request_id=str(uuid.uuid4())), timeout=30)
            print(f"created {job.name}", flush=True)
            return report(stubs, watch(stubs, service, job))
        except KeyboardInterrupt:
            print("stopped watching; the job goes on", file=sys.stderr)
            return 130
        except grpc.RpcError as error:
            print(f"error: {error.details()} ({stubs.reason(error) or error.code().name})", file=sys.stderr)
            return EXIT_UNREACHABLE if error.code() == grpc.StatusCode.UNAVAILABLE else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())

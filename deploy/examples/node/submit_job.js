// Submits a distillation job to the HTTP gateway of a Retort server, follows it to its end, fetches the evidence.
//
//   node submit_job.js --server retort.example:7445 --cert me.crt --key me.key --ca ca.crt --job job.json --out evidence
//   node submit_job.js --dev --job job.json --out evidence          (a `retortd --dev` of this user)
//
// The job is the JSON of a JobSpec (proto/retort/jobs/v1/job_spec.proto). Exit code: 0 succeeded, 1 failed, 2 wrong usage,
// 3 refused by policy, 7 the server cannot be reached.
import { randomUUID } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

import { fromJson } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";

import { Operations } from "./gen/google/longrunning/operations_pb.js";
import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { JobSpecSchema } from "./gen/retort/jobs/v1/job_spec_pb.js";
import { Job_State, JobsService } from "./gen/retort/jobs/v1/jobs_pb.js";
import { ExportEvidenceResponseSchema, LedgerService } from "./gen/retort/ledger/v1/ledger_pb.js";

const FAILED = 1, USAGE = 2, REFUSED = 3, UNREACHABLE = 7;
const RETRIES_MAX = 10; // of a broken watch, in a row
const ENDED = [Job_State.SUCCEEDED, Job_State.FAILED, Job_State.CANCELLED];

class Failure extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

function readArguments() {
  const { values } = parseArgs({
    options: {
      dev: { type: "boolean" },
      server: { type: "string" },
      cert: { type: "string" },
      key: { type: "string" },
      ca: { type: "string" },
      job: { type: "string" },
      out: { type: "string" },
      project: { type: "string", default: "demo" },
      "job-id": { type: "string", default: "" },
    },
  });
  if (!values.job || !values.out) throw new Failure(USAGE, "wanted --job FILE and --out FOLDER");
  if (!values.dev && !(values.server && values.cert && values.key && values.ca))
    throw new Failure(USAGE, "wanted --server, --cert, --key and --ca, or --dev");
  return values;
}

function connect(values) {
  if (!values.dev) {
    return createConnectTransport({
      baseUrl: `https://${values.server}`,
      httpVersion: "1.1",
      useHttpGet: true,
      nodeOptions: { cert: readFileSync(values.cert), key: readFileSync(values.key), ca: readFileSync(values.ca) },
    });
  }
  const state = process.env.XDG_STATE_HOME || path.join(homedir(), ".local", "state");
  const folder = process.env.RETORT_DEV_DIR || path.join(state, "retort", "dev");
  const address = readFileSync(path.join(folder, "gateway"), "utf8").trim();
  return createConnectTransport({ baseUrl: `http://${address}`, httpVersion: "1.1", useHttpGet: true });
}

// Until the job ends. A stream that breaks is taken up where it broke.
async function watch(jobs, job) {
  let token = "", shown = "";
  for (let failures = 0; !ENDED.includes(job.state); ) {
    try {
      for await (const message of jobs.watchJob({ name: job.name, resumeToken: token })) {
        failures = 0;
        token = message.resumeToken;
        if (!message.job) continue;
        job = message.job;
        const done = job.progress?.samplesDone ?? 0, total = job.progress?.samplesTotal ?? 0;
        const line = `${Job_State[job.state].toLowerCase()} samples ${done}/${total}`;
        if (line !== shown) console.log(line);
        shown = line;
        if (ENDED.includes(job.state)) break;
      }
    } catch (caught) {
      const error = ConnectError.from(caught);
      if (error.code === Code.OutOfRange) token = ""; // too old: begin with a snapshot
      else if (error.code !== Code.Unavailable) throw error;
      if (++failures > RETRIES_MAX) throw error;
    }
  }
  return job;
}

// What a server says is a path must stay below the folder.
function below(folder, name) {
  const parts = name.split("/");
  if (parts.some((part) => part === "" || part === "." || part === "..")) throw new Failure(FAILED, "the server sent a path that is none");
  return path.join(folder, ...parts);
}

async function fetchEvidence(transport, name, out) {
  const ledger = createClient(LedgerService, transport);
  const operations = createClient(Operations, transport);
  let operation = await ledger.exportEvidence({ name });
  while (!operation.done) operation = await operations.waitOperation({ name: operation.name, timeout: { seconds: 20n } });
  if (operation.result.case !== "response") throw new Failure(FAILED, operation.result.value?.message ?? "no evidence");
  const pack = anyUnpack(operation.result.value, ExportEvidenceResponseSchema);
  let files = 0n;
  for await (const chunk of ledger.readEvidence({ name, treeSize: pack.treeSize })) {
    const file = below(out, chunk.path);
    mkdirSync(path.dirname(file), { recursive: true });
    appendFileSync(file, chunk.content);
    if (chunk.last) files += 1n;
  }
  if (files !== pack.fileCount) throw new Failure(FAILED, `saw ${files} files, wanted ${pack.fileCount}`);
  console.log(`evidence: ${files} files of ${pack.treeSize} entries in ${out}`);
}

async function main() {
  const values = readArguments();
  const spec = fromJson(JobSpecSchema, JSON.parse(readFileSync(values.job, "utf8")));
  mkdirSync(values.out);
  const transport = connect(values);
  const jobs = createClient(JobsService, transport);
  // The request id makes this safe to repeat: the same id with the same job creates it once.
  const created = await jobs.createJob({
    parent: `projects/${values.project}`, jobId: values["job-id"], requestId: randomUUID(), spec,
  });
  console.log(`created ${created.name}`);
  const job = await watch(jobs, created);
  if (job.state !== Job_State.SUCCEEDED)
    throw new Failure(job.stateReason.startsWith("POLICY_") ? REFUSED : FAILED, `${job.stateReason}: ${job.stateMessage}`);
  await fetchEvidence(transport, `projects/${values.project}/ledgers/main`, values.out);
}

function exitCode(error) {
  if (error instanceof Failure) return error.code;
  if (!(error instanceof ConnectError)) return USAGE; // a file, or the job's JSON
  if (error.findDetails(ErrorInfoSchema).some((info) => info.reason.startsWith("POLICY_"))) return REFUSED;
  return error.code === Code.Unavailable ? UNREACHABLE : FAILED;
}

try {
  await main();
} catch (error) {
  const reason = error instanceof ConnectError ? error.findDetails(ErrorInfoSchema)[0]?.reason : undefined;
  console.error(`error: ${error.rawMessage ?? error.message}${reason ? ` (${reason})` : ""}`);
  process.exitCode = exitCode(error);
}

// What every JavaScript client does with its credentials: who am I, read, try to write; and how it reports.
//
// The same contract as aws_use.py. NODE_PATH must name the node_modules made from js/package-lock.json: these files do
// not lie beside it, and import statements do not look at NODE_PATH, but require does.

import { createRequire } from "node:module";
import { isIPv4 } from "node:net";
import { parseArgs } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";

export const require = createRequire(import.meta.url);
const { STSClient, GetCallerIdentityCommand } = require("@aws-sdk/client-sts");
const { S3Client, GetObjectCommand, PutObjectCommand } = require("@aws-sdk/client-s3");

/** Prints the one line and ends the process. */
export function report(answer, code = 0) {
  process.stdout.write(`${JSON.stringify(answer)}\n`, () => process.exit(code));
  return new Promise(() => {});
}

/** The command line: --bucket, --key, --loop, --interval and the client's own options. */
export function settings(own = {}) {
  const text = { type: "string" };
  const options = { bucket: text, key: text, loop: { ...text, default: "1" }, interval: { ...text, default: "0" } };
  const { values } = parseArgs({ options: { ...options, ...own } });
  return values;
}

/** Stops unless each of these environment variables is a URL of this host. */
export async function requireLoopback(...names) {
  for (const name of names) {
    const host = URL.canParse(process.env[name]) ? new URL(process.env[name]).hostname : "";
    if (!(isIPv4(host) && host.startsWith("127.")) && host !== "[::1]") {
      await report({ error: `${name} must be a URL with a loopback address` }, 2);
    }
  }
}

/** GetCallerIdentity, `loop` times; an identity if any call gave one. */
async function identify(client, loop, interval) {
  const seen = new Map();
  let failures = 0;
  let last;
  for (let turn = 0; turn < loop; turn += 1) {
    if (turn > 0) await sleep(interval * 1000);
    try {
      const { Arn, Account } = await client.send(new GetCallerIdentityCommand({}));
      seen.set(Arn, Account);
    } catch (failure) {
      failures += 1;
      last = failure;
    }
  }
  if (seen.size === 0) await report({ error: `${last.name}: ${last.message}` }, 1);
  const [arn, account] = [...seen].at(-1);
  const answer = { arn, account, calls: loop, failures, arns: [...seen.keys()].sort() };
  return last ? { ...answer, last_failure: last.name } : answer;
}

/** Reads the object, then tries to write one beside it. */
async function touch(client, bucket, key, name) {
  const answer = { read: true, write: "ok" };
  try {
    const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
    answer.body = await Body.transformToString();
  } catch (failure) {
    Object.assign(answer, { read: false, read_error: failure.name });
  }
  try {
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: `probe/${name}`, Body: "written" }));
  } catch (failure) {
    answer.write = failure.name;
  }
  return answer;
}

/** The SDK's note of where its credentials came from; the end of the run when it found none. */
async function sourceOf(client) {
  try {
    const { $source: source = {} } = await client.config.credentials();
    return Object.keys(source).sort();
  } catch (failure) {
    return report({ error: `${failure.name}: ${failure.message}` }, 1);
  }
}

/** All of it. Without `credentials` the SDK's default chain finds them. */
export async function use(values, name, credentials = undefined) {
  const config = { ...(credentials && { credentials }), maxAttempts: 3 };
  const sts = new STSClient(config);
  const source = await sourceOf(sts);
  const identity = await identify(sts, Number(values.loop), Number(values.interval));
  const found = await touch(new S3Client({ ...config, forcePathStyle: true }), values.bucket, values.key, name);
  return { ...identity, ...found, source };
}

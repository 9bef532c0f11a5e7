// A gRPC client that asks the broker for credentials and uses them with the AWS SDK for JavaScript.
//
//     grpc_client.mjs --address 127.0.0.1:PORT --token-file F --proto-dir proto --bucket B --key K
//                     [--profile P] [--role R] [--timeout SECONDS]
//
// It loads cupbearer/v1/broker.proto of --proto-dir, asks grpc.health.v1 for the service's health, calls GetCredentials
// and then does what every client does (aws_use.mjs). When the call fails:
// {"error", "code": "UNAUTHENTICATED", "health": …} and exit code 1.

import { readFileSync } from "node:fs";

import { report, require, requireLoopback, settings, use } from "./aws_use.mjs";

const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const SERVICE = "cupbearer.v1.CredentialBroker";
const HEALTH = {
  nested: {
    grpc: { nested: { health: { nested: { v1: { nested: {
      HealthCheckRequest: { fields: { service: { type: "string", id: 1 } } },
      HealthCheckResponse: { fields: { status: { type: "ServingStatus", id: 1 } }, nested: {
        ServingStatus: { values: { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } },
      } },
      Health: { methods: { Check: { requestType: "HealthCheckRequest", responseType: "HealthCheckResponse" } } },
    } } } } } },
  },
};
const OPTIONS = { keepCase: true, longs: Number, enums: String, defaults: true };

/** The status code's name. */
function nameOf(code) {
  return grpc.status[code] ?? String(code);
}

/** One unary call; rejects with the ServiceError. */
function call(client, method, request, metadata, seconds) {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + seconds * 1000 };
    client[method](request, metadata, options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

async function health(values, credentials) {
  const { Health } = grpc.loadPackageDefinition(protoLoader.fromJSON(HEALTH, OPTIONS)).grpc.health.v1;
  const client = new Health(values.address, credentials, { "grpc.enable_http_proxy": 0 });
  try {
    return (await call(client, "Check", { service: SERVICE }, new grpc.Metadata(), values.timeout)).status;
  } catch (failure) {
    return nameOf(failure.code);
  } finally {
    client.close();
  }
}

/** GetCredentials with the token as metadata. */
async function ask(values, credentials) {
  const loaded = protoLoader.loadSync("cupbearer/v1/broker.proto", { ...OPTIONS, includeDirs: [values["proto-dir"]] });
  const { CredentialBroker } = grpc.loadPackageDefinition(loaded).cupbearer.v1;
  const client = new CredentialBroker(values.address, credentials, { "grpc.enable_http_proxy": 0 });
  const metadata = new grpc.Metadata();
  if (values["token-file"]) {
    metadata.set("authorization", `Bearer ${readFileSync(values["token-file"], "utf8").trim()}`);
  }
  try {
    const request = { profile: values.profile, role: values.role };
    return await call(client, "GetCredentials", request, metadata, values.timeout);
  } finally {
    client.close();
  }
}

/** A google.protobuf.Timestamp as RFC 3339 text. */
function time(stamp) {
  return stamp ? new Date(stamp.seconds * 1000).toISOString().replace(".000Z", "Z") : null;
}

const text = { type: "string" };
const own = { address: text, "token-file": text, "proto-dir": text, timeout: { ...text, default: "5" } };
const values = settings({ ...own, profile: { ...text, default: "" }, role: { ...text, default: "" } });
await requireLoopback("AWS_ENDPOINT_URL");
const plain = grpc.credentials.createInsecure();
const healthy = await health(values, plain);
let answer;
try {
  answer = await ask(values, plain);
} catch (failure) {
  await report({ error: failure.details ?? failure.message, code: nameOf(failure.code), health: healthy }, 1);
}
const held = answer.credentials;
const used = await use(values, "grpc-js", {
  accessKeyId: held.access_key_id,
  secretAccessKey: held.secret_access_key,
  sessionToken: held.session_token,
});
await report({
  ...used,
  code: "OK",
  health: healthy,
  role_arn: held.role_arn,
  identity_id: held.identity_id,
  expiration: time(held.expiration),
  present_token_by: time(answer.present_token_by),
});

// The gRPC way: credentials now, and each renewal, for as long as the token is good.
//
//     node watch.mjs 127.0.0.1:2871 TOKEN_FILE PROTO_DIR
//
// A watch suits a job that outlives a request: the newest credentials are always at hand, and nobody polls.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const [address, tokenFile, protoDir] = process.argv.slice(2);
const proto = protoLoader.loadSync("cupbearer/v1/broker.proto", { includeDirs: [protoDir], keepCase: true, longs: Number });
const { CredentialBroker } = grpc.loadPackageDefinition(proto).cupbearer.v1;
const timeOf = ({ seconds }) => new Date(seconds * 1000).toISOString();

const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${readFileSync(tokenFile, "utf8").trim()}`);
const broker = new CredentialBroker(address, grpc.credentials.createInsecure(), { "grpc.enable_http_proxy": 0 });
const watch = broker.WatchCredentials({}, metadata);
watch.on("data", ({ credentials: held, present_token_by: by }) => {
  console.log(`${held.access_key_id} until ${timeOf(held.expiration)}, new token by ${timeOf(by)}`);
});
// UNAUTHENTICATED: the token has expired. Watch again with a newer one.
watch.on("error", (ended) => {
  console.error(`${grpc.status[ended.code]}: ${ended.details}`);
  process.exit(1);
});

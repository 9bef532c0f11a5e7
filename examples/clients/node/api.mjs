// The per-request way: an API that reads and writes documents with the role of the user who asks.
//
//     BROKER=http://127.0.0.1:2870 BUCKET=documents node api.mjs PORT
//
// GET and PUT /documents/KEY with `Authorization: <ID token>`. The broker answers from its cache, so it is asked at every
// request: whose token has expired, or who lost a group, is refused by the next one.

import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { GetObjectCommand, PutObjectCommand, S3Client } = require("@aws-sdk/client-s3");

const { BROKER, BUCKET } = process.env;
const MOST_CLIENTS = 256;

/** What ends a request early, with the status for the user. */
class Refused extends Error {
  constructor(status, body) {
    super(body);
    this.status = status;
  }
}

/** S3 clients of the users seen last, by key id: renewed credentials have another. They share one pool of connections. */
const clients = new Map();
const { requestHandler } = new S3Client({ region: "us-east-1" }).config;

async function s3Of(token) {
  const answer = await fetch(`${BROKER}/v1/credentials`, { headers: { authorization: token } });
  if (!answer.ok) throw new Refused(answer.status, await answer.text());
  const user = await answer.json();
  let client = clients.get(user.AccessKeyId);
  client ??= new S3Client({
    requestHandler,
    forcePathStyle: true,
    credentials: { accessKeyId: user.AccessKeyId, secretAccessKey: user.SecretAccessKey, sessionToken: user.Token },
  });
  clients.delete(user.AccessKeyId);
  clients.set(user.AccessKeyId, client);
  if (clients.size > MOST_CLIENTS) clients.delete(clients.keys().next().value);
  return client;
}

async function documents(request) {
  const s3 = await s3Of(request.headers.authorization ?? "");
  const where = { Bucket: BUCKET, Key: request.url.replace("/documents/", "") };
  if (request.method === "GET") return (await s3.send(new GetObjectCommand(where))).Body.transformToByteArray();
  if (request.method !== "PUT") throw new Refused(405, "GET or PUT");
  await s3.send(new PutObjectCommand({ ...where, Body: Buffer.concat(await request.toArray()) }));
  return "written";
}

const server = createServer(async (request, response) => {
  try {
    response.end(await documents(request));
  } catch (failure) {
    response.statusCode = failure.status ?? failure.$metadata?.httpStatusCode ?? 502;
    response.end(failure instanceof Refused ? failure.message : failure.name);
  }
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log(`listening on 127.0.0.1:${server.address().port}`));

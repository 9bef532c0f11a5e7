// The container-credentials way: a program with a stock AWS SDK, and no line about cupbearer.
//
//     export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:2870/v1/credentials
//     export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=/run/app/user.jwt
//     node stock.mjs BUCKET KEY
//
// The SDK asks the broker by itself, and again before the credentials expire.

import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { GetObjectCommand, S3Client } = require("@aws-sdk/client-s3");
const { GetCallerIdentityCommand, STSClient } = require("@aws-sdk/client-sts");

const [Bucket, Key] = process.argv.slice(2);
console.log((await new STSClient({}).send(new GetCallerIdentityCommand({}))).Arn);
const { Body } = await new S3Client({ forcePathStyle: true }).send(new GetObjectCommand({ Bucket, Key }));
console.log(await Body.transformToString());

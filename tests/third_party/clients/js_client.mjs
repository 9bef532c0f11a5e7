// The AWS SDK for JavaScript, version 3, with its default credential chain.
//
//     js_client.mjs --bucket B --key K [--loop N] [--interval SECONDS]
//
// Environment: as aws_use.py says, with NODE_PATH, and AWS_CONTAINER_CREDENTIALS_FULL_URI and
// AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or AWS_CONTAINER_AUTHORIZATION_TOKEN. The chain ends at the container provider
// there; when that fails it asks the same address once more without Authorization, and nothing else. The answer's
// "source" is the SDK's own note of where the credentials came from: CREDENTIALS_HTTP.

import { report, requireLoopback, settings, use } from "./aws_use.mjs";

await requireLoopback("AWS_ENDPOINT_URL", "AWS_CONTAINER_CREDENTIALS_FULL_URI");
const answer = await use(settings(), "js");
if (!answer.source.includes("CREDENTIALS_HTTP")) {
  await report({ error: `the credentials came from ${answer.source}` }, 1);
}
await report(answer);

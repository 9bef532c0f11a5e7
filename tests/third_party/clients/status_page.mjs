// The status page in a real browser: on a phone and on a desk, light and dark; reports what it finds as one JSON line.
//
//     status_page.mjs --url http://127.0.0.1:PORT/ --browser /usr/bin/chromium --shots DIR

import { createRequire } from "node:module";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { chromium } = createRequire(import.meta.url)("playwright-core");
const text = { type: "string" };
const { values } = parseArgs({ options: { url: text, browser: text, shots: text } });
// Nothing may leave this machine, not even what a browser asks for by itself.
const quiet = ["--disable-background-networking", "--disable-sync", "--disable-component-update", "--no-first-run"];
const browser = await chromium.launch({
  executablePath: values.browser,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", ...quiet],
});
const screens = [
  { name: "phone", viewport: { width: 375, height: 800 }, colorScheme: "dark" },
  { name: "desk", viewport: { width: 1100, height: 900 }, colorScheme: "light" },
];
const found = {};
for (const { name, ...screen } of screens) {
  const page = await (await browser.newContext(screen)).newPage();
  const complaints = [];
  const requests = [];
  page.on("console", (message) => complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => requests.push(new URL(request.url()).pathname));
  await page.goto(values.url);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  await page.screenshot({ path: join(values.shots, `${name}.png`), fullPage: true });
  const headings = await page.locator("h1, h2").allInnerTexts();
  const rows = await page.locator("tr").allInnerTexts();
  found[name] = { width, complaints, requests, headings, rows };
}
await browser.close();
console.log(JSON.stringify(found));

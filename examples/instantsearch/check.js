// Uses the page as a visitor would, in Chromium, against the cluster that MEILISEARCH_URL and MEILISEARCH_MASTER_KEY name.
// CHROMIUM names the browser; SCREENSHOTS a folder for pictures of the page as a desktop and a phone show it.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { chromium } from "playwright-core";

import { serve } from "./serve.js";

const url = process.env.MEILISEARCH_URL ?? "http://127.0.0.1:7700";
const master = process.env.MEILISEARCH_MASTER_KEY ?? "miroir-demo-master-key";
const samples = new URL(process.env.SAMPLES ?? "../../demo/sample.ndjson", import.meta.url);
const index = "packages";

async function ask(method, path, body, kind = "application/json") {
  const headers = { authorization: `Bearer ${master}`, ...(body && { "content-type": kind }) };
  const response = await fetch(url + path, { method, headers, body });
  const text = await response.text();
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

async function done(accepted) {
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    const task = await ask("GET", `/tasks/${accepted.taskUid}`);
    if (task.status === "succeeded") return;
    assert.ok(["enqueued", "processing"].includes(task.status), JSON.stringify(task));
    await new Promise((later) => setTimeout(later, 100));
  }
  assert.fail(`task ${accepted.taskUid} did not end in time`);
}

async function prepare() {
  const settings = { filterableAttributes: ["section", "priority", "size"], sortableAttributes: ["size"] };
  await done(await ask("PATCH", `/indexes/${index}/settings`, JSON.stringify(settings)));
  const documents = await readFile(samples);
  await done(await ask("POST", `/indexes/${index}/documents?primaryKey=id`, documents, "application/x-ndjson"));
  const key = { actions: ["search"], indexes: [index], expiresAt: null, name: "page" };
  return (await ask("POST", "/keys", JSON.stringify(key))).key;
}

const steps = [];
async function step(what, take) {
  try {
    await take();
    steps.push(what);
  } catch (error) {
    throw new Error(`step ${steps.length + 1}, ${what}`, { cause: error });
  }
}

/** Asks again until the page shows it: the search takes a moment. */
async function shows(read, expected, what) {
  let seen;
  for (const end = Date.now() + 15_000; Date.now() < end; ) {
    seen = await read();
    if (typeof expected === "function" ? expected(seen) : seen === expected) return seen;
    await new Promise((later) => setTimeout(later, 50));
  }
  assert.fail(`${what}: ${JSON.stringify(seen)}`);
}

async function visit(browser, origin, key) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  const complaints = [];
  const encodings = new Map();
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("response", (response) => {
    if (response.url().startsWith(url) && response.request().method() !== "OPTIONS")
      encodings.set(response.url(), response.headers()["content-encoding"] ?? "none");
  });
  const at = (selector) => page.locator(selector);
  const names = () => at("#hits .ais-Hits-item strong").allInnerTexts();
  const facts = () => at("#hits .facts").allInnerTexts();
  const total = async () => Number((await at("#stats").innerText()).match(/^([\d,]+) results?/)?.[1].replace(",", ""));
  const sections = () => at("#section .ais-RefinementList-item").allInnerTexts();
  const sizes = async () => (await facts()).map((text) => Number(text.match(/([\d]+) kB/)[1]));
  const all = (await ask("GET", `/indexes/${index}/stats`)).numberOfDocuments;

  await step("the page shows packages before anything is asked", async () => {
    await page.goto(`${origin}/?url=${encodeURIComponent(url)}&key=${key}`);
    await shows(total, all, "the total");
    assert.equal((await names()).length, 8);
  });
  await step("widgets for whatever facets there are appear", async () => {
    await shows(() => at("#facets .ais-RefinementList-item").count(), (count) => count >= 3, "priorities");
  });
  await step("words narrow the list", async () => {
    await at("#searchbox input").fill("shell");
    await shows(total, (count) => count > 0 && count < all, "fewer");
  });
  await step("the words found are marked", async () => {
    await shows(() => at("#hits mark").count(), (count) => count > 0, "marks");
  });
  await step("a typo is forgiven", async () => {
    await at("#searchbox input").fill("comand");
    await shows(() => at("#hits mark").allInnerTexts(), (marks) => marks.some((mark) => /^comman/i.test(mark)), "marks");
  });
  await step("nothing found is said", async () => {
    await at("#searchbox input").fill("xyzzyxyzzy");
    await shows(() => at("#stats").innerText(), (text) => text.startsWith("No results"), "the total");
  });
  await step("the search can be taken back", async () => {
    await at("#searchbox .ais-SearchBox-reset").click();
    await shows(total, all, "the total");
  });
  let first;
  await step("a section narrows the list to as many as it said", async () => {
    const [label, count] = (await sections())[0].split(/\s+/);
    first = label;
    await at("#section .ais-RefinementList-checkbox").first().click();
    await shows(total, Number(count), "the total");
    assert.ok((await facts()).every((text) => text.startsWith(`${label},`)), String(await facts()));
  });
  await step("other sections still say how many they have", async () => {
    const others = await shows(sections, (texts) => texts.length > 3, "sections");
    assert.ok(others.some((text) => !text.startsWith(first) && /[1-9]/.test(text)), String(others));
  });
  await step("two sections are both in the list", async () => {
    const before = await total();
    await at("#section .ais-RefinementList-item:not(.ais-RefinementList-item--selected) input").first().click();
    await shows(total, (count) => count > before, "more");
  });
  await step("a priority narrows it further", async () => {
    const before = await total();
    await at("#facets .ais-RefinementList-checkbox").first().click();
    await shows(total, (count) => count > 0 && count <= before, "fewer");
    assert.equal(await at("#current .ais-CurrentRefinements-category").count(), 3);
  });
  await step("one filter can be taken back", async () => {
    await at("#current .ais-CurrentRefinements-delete").first().click();
    await shows(() => at("#current .ais-CurrentRefinements-category").count(), 2, "filters");
  });
  await step("all filters can be taken back", async () => {
    await at("#clear button").click();
    await shows(total, all, "the total");
  });
  await step("a section is searched for", async () => {
    await at("#section input[type=search]").fill("ad");
    await shows(sections, (texts) => texts.length > 0 && texts.every((text) => /^ad/i.test(text)), "sections");
    await at("#section input[type=search]").fill("");
    await shows(sections, (texts) => texts.length > 3, "all sections");
  });
  await step("a range of sizes narrows the list", async () => {
    await at("#size .ais-RangeInput-input--min").fill("1000000");
    await at("#size .ais-RangeInput-input--max").fill("5000000");
    await at("#size .ais-RangeInput-submit").click();
    await shows(total, (count) => count > 0 && count < all, "fewer");
    assert.ok((await sizes()).every((size) => size >= 1000 && size <= 5000), String(await sizes()));
    await at("#clear button").click();
    await shows(total, all, "the total");
  });
  await step("the list is sorted", async () => {
    await at("#sort select").selectOption(`${index}:size:asc`);
    const ascending = (list) => list.length > 1 && list.every((size, n) => n === 0 || list[n - 1] <= size);
    await shows(sizes, ascending, "ascending sizes");
    await at("#sort select").selectOption(`${index}:size:desc`);
    await shows(sizes, (list) => ascending([...list].reverse()), "descending sizes");
  });
  await step("there are more pages", async () => {
    const before = await names();
    await at("#pagination .ais-Pagination-item--nextPage a").click();
    const after = await shows(names, (list) => list.length === 8 && list[0] !== before[0], "another page");
    assert.ok(after.every((name) => !before.includes(name)), "a package is on both pages");
  });
  await step("a page can be longer", async () => {
    await at("#per-page select").selectOption("20");
    await shows(async () => (await names()).length, 20, "packages");
  });
  await step("the page can read why it is refused, and what the request was called", async () => {
    const told = await page.evaluate(async ([url, index]) => {
      const headers = { authorization: "Bearer wrong", "content-type": "application/json", "x-request-id": "visit-7" };
      const response = await fetch(`${url}/indexes/${index}/search`, { method: "POST", headers, body: "{}" });
      return [response.status, (await response.json()).code, response.headers.get("x-request-id")];
    }, [url, index]);
    assert.deepEqual(told, [403, "invalid_api_key", "visit-7"]);
  });
  // The last step asked for a refusal, of which the browser makes a line of its own.
  const unexpected = complaints.filter((text) => !/status of 403/.test(text));
  assert.deepEqual(unexpected, [], "the page complains");
  assert.ok([...encodings.values()].every((encoding) => encoding === "br"), JSON.stringify([...encodings]));
  return page;
}

async function look(page) {
  const folder = process.env.SCREENSHOTS;
  for (const [name, width, height] of [["desktop", 1280, 900], ["phone", 390, 844]]) {
    await page.setViewportSize({ width, height });
    await page.reload();
    await shows(() => page.locator("#hits .ais-Hits-item").count(), (count) => count > 0, "packages");
    const seen = await page.locator("#hits .ais-Hits-item").first().boundingBox();
    assert.ok(seen.y + seen.height < height, `on a ${name} the first package is not to be seen`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `on a ${name} the page is ${wide} wide`);
    if (folder) await page.screenshot({ path: join(folder, `${name}.png`) });
  }
}

const { server, origin } = await serve();
let browser;
try {
  const key = await prepare();
  const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [...flags, "--disable-component-update", "--disable-sync"],
  });
  await look(await visit(browser, origin, key));
  console.log(`instantsearch: ${steps.length} steps in Chromium ${browser.version()}, all good`);
} finally {
  await browser?.close();
  server.close();
}

// What all tests of the pages share: one browser, pages in contexts of their own, and what must hold of every page, whatever
// is tested on it: it fails nowhere, asks nobody but the gateway for anything, and breaks no rule of its policy.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const gateway = process.env.GATEWAY_URL;
export const shots = process.env.SCREENSHOTS; // the folder that pictures are left in
export const patience = 20000; // of a step, on a machine that is busy with other tests

mkdirSync(shots, { recursive: true });

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser;

export async function launch() {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
}

export async function quit() {
  await browser.close();
}

export const desk = { width: 1440, height: 900 };
export const phone = { width: 390, height: 844 };

// visit opens a page in a browser that has seen nothing yet, runs f on it, and looks whether all went well. allow is a
// pattern of the console's errors that the test brings about.
export async function visit({ url = gateway, path = "/", size = desk, dark = false, language = "en-US", allow = null, setUp = null } = {}, f) {
  const context = await browser.newContext({
    viewport: size, colorScheme: dark ? "dark" : "light", locale: language, reducedMotion: "reduce",
    hasTouch: size === phone, isMobile: size === phone, serviceWorkers: "block",
  });
  context.setDefaultTimeout(patience);
  const faults = [];
  const watch = (page) => {
    page.on("pageerror", (e) => faults.push(`it fails: ${e.stack}`));
    page.on("dialog", (d) => faults.push(`it shows ${d.message()}`));
    page.on("console", (m) => {
      if ((m.type() === "error" || m.type() === "warning") && !allow?.test(m.text())) faults.push(`it says ${m.text()}`);
    });
    page.on("request", (r) => {
      if (!r.url().startsWith(url) && !r.url().startsWith("blob:")) faults.push(`it asks for ${r.url()}`);
    });
  };
  context.on("page", watch);
  const page = await context.newPage();
  try {
    await setUp?.(page);
    await page.goto(url + path);
    await f(page, context);
  } catch (e) {
    const file = join(shots, "failed.png");
    await page.screenshot({ path: file });
    e.message += ` (${file} shows the page; ${faults.join("; ")})`;
    throw e;
  } finally {
    await context.close();
  }
  assert.deepEqual(faults, []);
}

export function shoot(page, name) {
  return page.screenshot({ path: join(shots, `${name}.png`) });
}

// accessible has axe-core look at a page, for faults that keep people from using it.
export async function accessible(page, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const grave = found.violations
    .filter((v) => v.impact === "serious" || v.impact === "critical")
    .map((v) => `${v.id}: ${v.nodes.map((n) => `${n.html} (${n.failureSummary})`).join("; ")}`);
  assert.deepEqual(grave, [], what);
}

// Drives the swarm's page. The environment says where: DEMO_URL is a demo's, KEYED_URL and KEY a gateway's that asks for keys.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessible, desk, launch, phone, quit, shoot, visit } from "./harness.mjs";
import { madeUp, showMadeUp } from "./made-up.mjs";

const demo = { url: process.env.DEMO_URL, path: "/swarm" };

before(launch);
after(quit);

// becomes waits until a text of the page fits.
async function becomes(page, selector, pattern) {
  await page.waitForFunction(([at, source]) => new RegExp(source).test(document.querySelector(at).textContent), [selector, pattern.source])
    .catch(async (e) => assert.fail(`${selector} says "${await page.locator(selector).textContent()}", not ${pattern} (${e.message})`));
}

// narrow checks that nothing sticks out of the page.
async function narrow(page) {
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(wide <= room, `the page is ${wide} wide, the window ${room}`);
}

const row = (page, name) => page.getByRole("row").filter({ has: page.getByRole("button", { name, exact: true }) });

test("peers are killed and started while answers go on", async () => {
  await visit(demo, async (page) => {
    await becomes(page, "#verdict", /Every layer has 2 hosts or more/);
    await becomes(page, "#live", /^live$/);
    assert.equal(await page.locator(".peer").count(), 6);
    await page.locator(".used").nth(2).waitFor({ state: "attached" }); // the chain of an answer
    await accessible(page, "the swarm's page before");
    await shoot(page, "swarm-desk-light");
    await page.getByRole("button", { name: "Ask again and again" }).click();
    await becomes(page, "#told", /.{20}/);
    await becomes(page, "#legend", /answers now/);
    const victim = await page.locator(".peer", { has: page.locator(".used") }).nth(1).locator(".who").textContent();
    await page.getByRole("button", { name: `Kill ${victim}` }).click();
    await becomes(page, "#verdict", /layers 2:4 have only one/);
    assert.equal(await row(page, victim).locator(".state").textContent(), "killed");
    assert.equal(await page.getByRole("button", { name: `Kill ${victim}` }).count(), 0);
    await becomes(page, "#tally", /^Answers: ([2-9]|\d\d+);/);
    await shoot(page, "swarm-desk-light-killed");
    const other = await page.getByRole("row").filter({ hasText: "layers 2:4" }).filter({ hasText: "online" }).locator(".who").textContent();
    await page.getByRole("button", { name: `Kill ${other}` }).click();
    await becomes(page, "#verdict", /Layers 2:4 have no host/);
    await page.locator(".column.gap").waitFor();
    assert.match(await page.locator(".column.gap").textContent(), /layers 2:4: no host/);
    await accessible(page, "the swarm's page with a gap");
    await page.getByRole("button", { name: "Start a peer" }).click();
    await becomes(page, "#verdict", /layers 2:4 have only one/);
    await becomes(page, "#done", /has started and serves layers 2:4/);
    await page.getByRole("button", { name: "Start a peer" }).click();
    await becomes(page, "#verdict", /Every layer has 2 hosts or more/);
    const before = Number(/\d+/.exec(await page.locator("#tally").textContent())[0]);
    await page.waitForFunction((n) => Number(/\d+/.exec(document.getElementById("tally").textContent)[0]) > n, before);
    const [answers, same, over] = (await page.locator("#tally").textContent()).match(/\d+/g).map(Number);
    assert.equal(same, answers, "answers differ");
    assert.ok(over > 0, "nobody has taken over");
    await page.getByRole("button", { name: "Stop asking" }).click();
    await page.getByRole("button", { name: "Ask again and again" }).waitFor();
  });
});

test("it is at home on a phone, in the dark, in Chinese", async () => {
  for (const [name, size, dark, language] of [["phone-light", phone, false, "en-US"], ["phone-dark", phone, true, "zh-CN"], ["desk-dark", desk, true, "zh-CN"]]) {
    await visit({ ...demo, size, dark, language }, async (page) => {
      await becomes(page, "#verdict", language === "zh-CN" ? /每层都有 2 个/ : /Every layer has 2/);
      await narrow(page);
      await accessible(page, name);
      await shoot(page, `swarm-${name}`);
    });
  }
});

test("names that strangers have chosen are text", async () => {
  const swarm = madeUp(24, 32);
  await visit({ ...demo, setUp: (page) => showMadeUp(page, swarm) }, async (page) => {
    await page.locator(".peer").nth(23).waitFor();
    for (const button of await page.locator(".who").all()) await button.click(); // which tells all that there is
    assert.equal(await page.locator("main :is(script, img, b, i, u, iframe)").count(), 0);
    for (const p of swarm.peers.filter((x) => x.nick)) assert.equal(await page.locator(".who bdi", { hasText: p.nick }).first().evaluate((e) => e.children.length), 0);
    const command = await page.locator("#command").textContent();
    assert.match(command, /^baichuan-node serve [0-9a-f]{16} --join [/a-zA-Z0-9.]+$/);
    await narrow(page);
  });
});

test("swarms of 1 and of 200 peers fit", async () => {
  const several = madeUp(5, 40, { private: true, models: ["baichuan2-13b-chat", "baichuan2-7b-chat"] });
  for (const [name, size, dark, swarm] of [
    ["1-desk", desk, false, madeUp(1, 32)], ["200-desk", desk, false, madeUp(200, 40)], ["200-phone", phone, true, madeUp(200, 40)],
    ["private-phone", phone, false, several],
  ]) {
    await visit({ ...demo, size, dark, setUp: (page) => showMadeUp(page, swarm) }, async (page) => {
      await page.locator(".peer").nth(swarm.peers.length - 1).waitFor();
      assert.equal(await page.locator("#models").isVisible(), swarm.models.length > 1);
      assert.equal(/ --swarm-key FILE$/.test(await page.locator("#command").textContent()), swarm.private);
      await narrow(page);
      if (swarm.private) await accessible(page, name); // the others have the same parts, and many of them
      await shoot(page, `swarm-${name}`);
    });
  }
});

test("keys are enough to read what there is of a peer", async () => {
  await visit(demo, async (page) => {
    const first = page.locator(".who").first();
    await first.focus();
    await page.keyboard.press("Enter");
    assert.equal(await first.getAttribute("aria-expanded"), "true");
    const id = await first.getAttribute("title");
    await page.locator(".more .code", { hasText: id }).first().waitFor();
    await page.waitForTimeout(2500); // pictures come meanwhile
    assert.equal(await first.evaluate((e) => e === document.activeElement), true, "the focus is lost when the picture changes");
    await page.keyboard.press("Space");
    assert.equal(await page.locator(".more:visible").count(), 0);
  });
});

test("a line that breaks is taken up again", async () => {
  await visit({ ...demo, allow: /ERR_|Failed to load/ }, async (page) => {
    await becomes(page, "#live", /^live$/);
    await page.route("**/api/swarm/events*", (route) => route.abort());
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange"))); // begins anew
    await becomes(page, "#live", /trying again/);
    assert.equal(await page.locator(".peer").count(), 6, "what was seen last is gone");
    await page.unroute("**/api/swarm/events*");
    await becomes(page, "#live", /^live$/);
  });
});

test("a gateway that asks for keys is given one", async () => {
  await visit({ url: process.env.KEYED_URL, path: "/swarm", allow: /401/ }, async (page) => {
    await becomes(page, "#verdict", /asks for a key/);
    await accessible(page, "asked for a key");
    await page.getByLabel("API key").fill("sk-wrong");
    await page.getByRole("button", { name: "Use it" }).click();
    await becomes(page, "#verdict", /asks for a key/);
    await page.getByLabel("API key").fill(process.env.KEY);
    await page.keyboard.press("Enter");
    await becomes(page, "#verdict", /Every layer has/);
    assert.equal(await page.locator("#demo").isVisible(), false);
    assert.equal(await page.getByRole("button", { name: /Kill/ }).count(), 0);
    await page.reload();
    await becomes(page, "#verdict", /Every layer has/);
  });
});

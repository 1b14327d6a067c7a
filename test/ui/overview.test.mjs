// Drives the page of all receivers, with two real ones, in a real Chromium.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { fastest, launch, Window } from "./browser.mjs";
import { Overview, Receiver, Sink } from "./receiver.mjs";

const first = "system/receiver-0", second = "system/receiver-1", away = "system/receiver-2";

let browser, sink, receivers, overview, view, page;

before(async () => { browser = await launch(); });
after(() => browser.close());

beforeEach(async () => {
  sink = new Sink();
  await sink.start();
  receivers = [new Receiver("a"), new Receiver("b")];
  await Promise.all(receivers.map((receiver, i) => receiver.start(process.env.RECEIVER, sink, ...(i === 0 ? ["--page-payloads"] : []))));
  overview = new Overview();
});

afterEach(async () => {
  await view.close();
  await overview.stop();
  await Promise.all(receivers.map(receiver => receiver.stop()));
  sink.stop();
  view.check();
});

async function open(options = {}, more = {}) {
  await overview.start(process.env.OVERVIEW, { [first]: receivers[0], [second]: receivers[1], ...more });
  view = new Window(browser);
  page = await view.open(overview.page, options);
}

const until = (condition, argument) => page.waitForFunction(condition, argument, { polling: 50 });
const stateOf = name => page.locator("#receivers tr", { hasText: name }).locator("td").first();
const rowOf = recipient => page.locator("#events tr", { hasText: recipient });

test("events of both receivers appear in one view within a second", async () => {
  await open();
  for (const receiver of receivers) await receiver.send(receiver.event("send")); // the first batch opens the connection to the sink
  await until(() => document.querySelectorAll("#events tr").length === 2);
  for (const [i, receiver] of receivers.entries()) {
    const took = await fastest(async n => {
      await receiver.send(receiver.event("hard_bounce", `ben${i}${n}@example.com`));
      await rowOf(`ben${i}${n}@example.com`).waitFor();
    });
    assert.ok(took < 1000, `it took ${took} ms`);
  }
  assert.match(await rowOf("ben00@example.com").textContent(), /hard_bounce.*system\/receiver-0.*accepted/);
  assert.match(await rowOf("ben10@example.com").textContent(), /hard_bounce.*system\/receiver-1.*accepted/);
  await until(() => document.querySelector("#webhooks tr").cells[3].textContent === "12"); // added up
  await until(() => document.querySelector("[data-hop=receiver] .badge").textContent === "2 of 2 ready");
  assert.equal(await page.title(), "Mandrill receivers");
  // Rates are those of both, and each has its own.
  await until(() => [...document.querySelectorAll("#receivers tr")].every(row => /events\/s/.test(row.cells[2].textContent)));
});

test("a receiver that stops is named, the other one goes on, and it comes back", async () => {
  await open();
  await receivers[1].send(receivers[1].event("open", "before@example.com"));
  await rowOf("before@example.com").waitFor();
  await receivers[1].end();
  await stateOf(second).getByText("not reached").waitFor();
  assert.match(await stateOf(second).textContent(), /connection was lost|does not answer/);
  await until(() => document.querySelector("[data-hop=receiver] .badge").textContent === "1 of 2 ready");
  assert.match(await page.locator("[data-hop=receiver] .words").textContent(), /not ready: system\/receiver-1$/);
  await receivers[0].send(receivers[0].event("open", "meanwhile@example.com"));
  await rowOf("meanwhile@example.com").waitFor();
  assert.match(await stateOf(first).textContent(), /^ready/);
  await receivers[1].start(process.env.RECEIVER, sink, `--page-listen=${new URL(receivers[1].page).host}`);
  await stateOf(second).getByText("ready", { exact: true }).waitFor();
  await receivers[1].send(receivers[1].event("open", "again@example.com"));
  await rowOf("again@example.com").waitFor();
  assert.equal(await rowOf("before@example.com").count(), 1); // and not twice
});

test("a dead letter of the second receiver is redriven there, and one of the first stays", async () => {
  await open();
  sink.status = 422;
  for (const [i, receiver] of receivers.entries()) await receiver.send(receiver.event("open", `dead${i}@example.com`));
  await until(() => document.querySelectorAll("#events tr").length >= 4);
  await view.showDead(2);
  sink.status = 202;
  await page.locator("#dead tr", { hasText: second }).getByRole("checkbox").check();
  await page.getByRole("button", { name: "Redrive selected" }).click();
  await page.getByRole("button", { name: "Confirm" }).click();
  await page.getByText("Redrove 1.").waitFor();
  await until(() => document.querySelectorAll("#dead tr").length === 1);
  assert.match(await page.locator("#dead tr").textContent(), /system\/receiver-0/);
  await page.locator("#events tr", { hasText: "accepted" }).filter({ hasText: "dead1@example.com" }).waitFor();
  // Both have the number 1: each is purged where it is.
  sink.status = 422;
  await receivers[1].send(receivers[1].event("open"));
  await until(() => document.querySelectorAll("#events tr").length >= 7);
  await view.showDead(2);
  await page.getByRole("checkbox", { name: "Select all" }).check();
  await page.getByRole("button", { name: "Purge selected" }).click();
  await page.getByRole("button", { name: "Confirm" }).click();
  await page.getByText("Purged 2. There are no dead letters.").waitFor();
});

test("what waits in both buffers is in one list, and a sink that fails shows once", async () => {
  await open();
  sink.status = 503;
  for (const receiver of receivers) await receiver.send(receiver.event());
  await until(() => document.querySelector("[data-hop=sink] .badge").textContent === "fails");
  await until(() => document.querySelector("[data-hop=buffer] .rate").textContent === "2 waiting");
  await view.showWaiting(2);
  assert.deepEqual((await page.locator("#backlog tr td:nth-child(2)").allTextContents()).sort(), [first, second]);
});

test("an event is shown with the receiver of each attempt, and its CloudEvent where that is shown", async () => {
  await open();
  await receivers[0].send(receivers[0].event("open", "shown@example.com"));
  await rowOf("shown@example.com").getByRole("button").click();
  await page.getByText(/attempt 1, accepted, status 202, .*, by system\/receiver-0/).waitFor();
  await until(() => document.querySelector("#details-event pre").textContent.startsWith("ce-specversion"));
  await page.keyboard.press("Escape");
});

test("two people redrive all at once, and each dead letter is sent once", async () => {
  await open();
  sink.status = 422;
  await receivers[1].send(...Array.from({ length: 400 }, () => receivers[1].event()));
  await until(() => document.querySelector("[data-hop=sink] .words").textContent.includes("400 dead letters"));
  sink.status = 202;
  const refused = sink.requests;
  const counts = await page.evaluate(receiver => Promise.all([1, 2].map(async () => {
    const response = await fetch(`api/dead-letters/redrive?receiver=${receiver}`, { method: "POST", headers: { "X-Mandrill-Page": "1" }, body: '{"all": true}' });
    return (await response.json()).count;
  })), second);
  assert.equal(counts[0] + counts[1], 400);
  await until(() => document.querySelector("#webhooks tr").cells[3].textContent === "400");
  assert.equal(sink.requests - refused, 400);
  await until(() => document.querySelector("[data-hop=buffer] .rate").textContent === "0 waiting");
});

// What weeks bring: pods that are replaced by others with new names, and their events.
test("it takes no more memory after many receivers have come and gone", async () => {
  await open();
  const feed = states => page.evaluate(async states => {
    const source = window.pageSource, send = (name, data) => source.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data) }));
    const age = 1, totals = { webhooks: 1, failing: 0, received: 5, delivered: 5, waiting: 0, deadLetters: 0, lastReceivedAge: age, lastDeliveredAge: age };
    for (let i = 0; i < states; i++) {
      const receivers = [0, 1, 2].map(n => ({ name: `system/receiver-${Math.floor(i / 5)}-${n}`, version: "v1", at: new Date(1e12 + i * 1000).toISOString(), totals }));
      send("state", { api: 1, receiver: "all receivers", version: "v1", at: new Date().toISOString(), totals, webhooks: [], receivers });
      send("events", { events: receivers.map(({ name }, n) => ({ time: new Date(1e12 + i * 1000 + n).toISOString(), receiver: name, webhook: "shop/a", batch: "b", id: `id-${i}-${n}`,
        type: "com.mandrill.message.open", recipient: "ana@example.com", message: "m", attempt: 1, outcome: "accepted", status: 202, durationMs: 3, test: false })) });
      if (i % 50 === 0) await new Promise(resolve => setTimeout(resolve, 150)); // it draws
    }
    await new Promise(resolve => setTimeout(resolve, 500));
  }, states);
  await feed(500);
  const first = await view.used();
  await feed(5000);
  await view.holdsNoMore(first);
});

test("dead letters in two buffers are shown page by page, and each comes once", async () => {
  await open();
  sink.status = 422;
  for (const receiver of receivers) await receiver.send(...Array.from({ length: 150 }, () => receiver.event()));
  await until(() => document.querySelector("[data-hop=sink] .words").textContent.includes("300 dead letters"));
  const numbers = new Set();
  await view.showDead(100);
  for (let i = 1; i <= 3; i++) {
    await until(number => document.querySelectorAll("#dead tr").length === 100 && document.querySelector("#dead tr").dataset.shown !== String(number), i - 1);
    for (const row of await page.locator("#dead tr").all()) {
      const cells = await row.locator("td").allTextContents();
      numbers.add(`${cells[1]} ${cells[2]}`);
    }
    assert.equal(numbers.size, 100 * i);
    await page.evaluate(number => { for (const row of document.querySelectorAll("#dead tr")) row.dataset.shown = String(number); }, i);
    if (i < 3) await page.locator("#next-dead").click();
  }
  assert.ok(await page.locator("#next-dead").isHidden());
});

for (const [name, options] of Object.entries({ light: {}, dark: { colorScheme: "dark" }, "360 px": { viewport: { width: 360, height: 740 } } })) {
  test(`axe finds nothing on the page of all receivers: ${name}`, async () => {
    await open(options, { [away]: "the receiver does not run (it waits: CrashLoopBackOff): look at its pod with kubectl describe" });
    await stateOf(away).getByText("CrashLoopBackOff").waitFor();
    sink.status = 422;
    for (const receiver of receivers) await receiver.send(receiver.event("open"), receiver.event("click"));
    await until(() => document.querySelectorAll("#events tr").length >= 8);
    sink.status = 503;
    await receivers[0].send(receivers[0].event("open"));
    await view.showDead(4);
    await page.getByRole("button", { name: "Show what waits" }).click();
    await until(() => document.querySelector("[data-hop=sink] .badge").textContent === "fails");
    await view.axe("page");
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page is wider than the window");
    await view.picture(`all-${name.replace(" ", "-")}`);
  });
}

// Drives the page of a real receiver in a real Chromium.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { fastest, launch, Window } from "./browser.mjs";
import { Receiver, Sink } from "./receiver.mjs";

let browser, sink, receiver, view, page;

before(async () => { browser = await launch(); });
after(() => browser.close());

// open opens the page in a window of its own.
async function open(options = {}) {
  view = new Window(browser);
  page = await view.open(receiver.page, options);
}

beforeEach(async () => {
  sink = new Sink();
  await sink.start();
  receiver = new Receiver();
  await receiver.start(process.env.RECEIVER, sink, "--page-payloads");
});

afterEach(async () => {
  await view.close();
  await receiver.stop();
  sink.stop();
  view.check();
});

const rows = () => page.locator("#events tr");
const badge = hop => page.locator(`[data-hop=${hop}] .badge`);

// until waits for a condition in the page.
const until = condition => page.waitForFunction(condition, null, { polling: 50 });

test("an event appears within a second", async () => {
  await open();
  await receiver.send(receiver.event()); // the first batch opens the connection to the sink
  await rows().first().waitFor();
  const took = await fastest(async n => {
    await receiver.send(receiver.event("hard_bounce", `ben${n}@example.com`));
    await page.locator("#events tr", { hasText: `ben${n}@example.com` }).waitFor();
  });
  assert.ok(took < 1000, `it took ${took} ms`);
  assert.match(await rows().first().textContent(), /hard_bounce.*ben4@example\.com.*shop\/transactional.*1.*accepted.*202/);
  await until(() => document.querySelector("[data-hop=sink] .badge").textContent === "accepts");
  assert.equal(await badge("mandrill").textContent(), "sends");
  assert.equal(await badge("receiver").textContent(), "ready");
});

test("a sink that fails shows, with its own words, and so does its recovery", async () => {
  await open();
  sink.status = 503;
  sink.answer = "the database is full";
  await receiver.send(receiver.event());
  await until(() => document.querySelector("[data-hop=sink] .badge").textContent === "fails");
  await until(() => document.querySelector("[data-hop=sink] .words").textContent.includes("the database is full"));
  assert.match(await page.locator("[data-hop=sink] .words").textContent(), /shop\/transactional: Status 503/);
  assert.match(await page.locator("#announcement").textContent(), /The sink of shop\/transactional fails/);
  assert.match(await page.locator("#webhooks tr").textContent(), /fails/);
  await view.showWaiting(1);
  await page.getByRole("rowheader", { name: /^(batch|remainder):\d+$/ }).waitFor();
  sink.status = 202;
  await until(() => document.querySelector("[data-hop=sink] .badge").textContent === "accepts");
});

test("dead letters are redriven and purged, once that is confirmed", async () => {
  await open();
  sink.status = 422;
  await receiver.send(receiver.event("open"), receiver.event("click"), receiver.event("send"));
  await until(() => document.querySelectorAll("#events tr").length >= 6); // refused, and dead-lettered
  await view.showDead(3);
  assert.ok(await page.getByRole("button", { name: "Redrive selected" }).isDisabled());

  sink.status = 202;
  await page.getByRole("checkbox", { name: /^Select dead letter/ }).first().check();
  await page.getByRole("button", { name: "Redrive selected" }).click();
  await page.getByRole("dialog").getByText("Send 1 dead letter again?").waitFor();
  await page.keyboard.press("Escape"); // nothing happens
  assert.equal(await page.locator("#dead tr").count(), 3);
  await page.getByRole("button", { name: "Redrive selected" }).click();
  await page.getByRole("button", { name: "Confirm" }).click();
  await page.getByText("Redrove 1.").waitFor();
  await until(() => document.querySelectorAll("#dead tr").length === 2);
  await page.locator("#events tr", { hasText: "accepted" }).waitFor();

  await page.getByRole("checkbox", { name: "Select all" }).check();
  await page.getByRole("button", { name: "Purge selected" }).click();
  await page.getByRole("button", { name: "Confirm" }).click();
  await page.getByText("Purged 2. There are no dead letters.").waitFor();
});

test("a filter selects events, and a pause holds them", async () => {
  await open();
  await receiver.send(receiver.event("open"), receiver.event("click"));
  await until(() => document.querySelectorAll("#events tr").length === 2);
  await page.getByLabel("Type").fill("click");
  await until(() => document.querySelectorAll("#events tr").length === 1);
  assert.match(await rows().textContent(), /click/);
  await page.getByLabel("Type").fill("");
  await until(() => document.querySelectorAll("#events tr").length === 2);
  await page.getByLabel("only failed").check();
  await page.getByText("No event yet.").waitFor();
  await page.getByLabel("only failed").uncheck();
  await until(() => document.querySelectorAll("#events tr").length === 2);
  await page.getByRole("button", { name: "Pause" }).click();
  await receiver.send(receiver.event("send"));
  await until(() => document.querySelector("#webhooks tr").cells[3].textContent === "3");
  assert.equal(await rows().count(), 2);
  await page.getByRole("button", { name: "Pause" }).click();
  await until(() => document.querySelectorAll("#events tr").length === 3);
});

test("an event is shown as headers, JSON and curl, with the keyboard alone", async () => {
  await open();
  await receiver.send(receiver.event("open", "o'neil@example.com"));
  await rows().first().waitFor();
  const details = page.getByRole("button", { name: "open, show details" });
  for (let i = 0; i < 30 && !await details.evaluate(element => element === document.activeElement); i++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByText(/attempt 1, accepted, status 202/).waitFor();
  const shown = page.locator("#details-event pre");
  await until(() => document.querySelector("#details-event pre").textContent !== "");
  assert.match(await shown.textContent(), /^ce-specversion: 1\.0\nce-source: \/shop\nce-id: [0-9a-f]{32}\n[^]*content-type: application\/json[^]*\n\n\{"event":"open"/);
  await page.getByRole("button", { name: "JSON" }).focus();
  await page.keyboard.press("Space");
  assert.equal(JSON.parse(await shown.textContent()).data.msg.tags[0], "a&b<c>");
  await page.getByRole("button", { name: "curl" }).focus();
  await page.keyboard.press("Enter");
  assert.match(await shown.textContent(), /^curl "\$SINK" \\\n {2}-H 'ce-specversion: 1\.0'[^]*--data-binary '\{[^]*o'\\''neil@example\.com[^]*\}'$/);
  await page.keyboard.press("Escape");
  assert.ok(await details.evaluate(element => element === document.activeElement), "the focus returns to the event");
});

// flood sends a thousand events a second for some seconds.
async function flood(seconds) {
  for (let i = 0; i < seconds; i++) {
    const begun = performance.now();
    await receiver.send(...Array.from({ length: 1000 }, () => receiver.event()));
    await new Promise(resolve => setTimeout(resolve, Math.max(0, 1000 - (performance.now() - begun))));
  }
}

test("a thousand events a second do not freeze it", async () => {
  await open();
  await page.evaluate(() => {
    let last = performance.now();
    setInterval(() => { const now = performance.now(); window.longest = Math.max(window.longest, now - last); last = now; }, 50);
  });
  const pauses = [], answers = []; // a busy machine may make some of them longer, and a page that freezes all
  while (pauses.length < 3 && (Math.min(...pauses) >= 500 || Math.min(...answers) >= 2000)) {
    await page.evaluate(() => { window.longest = 0; });
    await flood(8);
    await page.locator("#webhooks tr").getByText(`${8 * (pauses.length + 1)},000`).first().waitFor();
    pauses.push(await page.evaluate(() => window.longest));
    assert.ok(await rows().count() <= 200);
    const begun = performance.now();
    await page.getByLabel("Type").fill("click");
    await page.getByText("No event yet.").waitFor();
    answers.push(performance.now() - begun);
    await page.getByLabel("Type").fill("");
    await rows().first().waitFor();
  }
  assert.ok(Math.min(...pauses) < 500, `the page did nothing else for ${pauses.map(Math.round)} ms`);
  assert.ok(Math.min(...answers) < 2000, `it answered after ${answers.map(Math.round)} ms`);
});

test("it takes no more memory after many events", async () => {
  await open();
  // What a day brings, without the day: messages of the receiver, as the page gets them.
  const feed = messages => page.evaluate(async messages => {
    const event = id => ({ time: new Date().toISOString(), webhook: "shop/a", batch: "b", id: `id-${id}`, type: "com.mandrill.message.open", recipient: "ana@example.com",
      message: "m", attempt: 1, outcome: "accepted", status: 202, durationMs: 3, test: false });
    const source = window.pageSource;
    for (let i = 0; i < messages; i++) {
      source.dispatchEvent(new MessageEvent("events", { data: JSON.stringify({ events: Array.from({ length: 50 }, (_, n) => event(i * 50 + n)) }) }));
      if (i % 20 === 0) await new Promise(resolve => setTimeout(resolve, 130)); // it draws
    }
    await new Promise(resolve => setTimeout(resolve, 500));
  }, messages);
  await feed(200);
  const first = await view.used();
  await feed(2000); // 100,000 events
  await view.holdsNoMore(first);
});

test("it comes back after the receiver was restarted, again and again, and leaves no timer behind", async () => {
  await open();
  await receiver.send(receiver.event("open", "before@example.com"));
  await rows().first().waitFor();
  const first = await view.used();
  for (let i = 0; i < 3; i++) {
    await receiver.end();
    await page.getByText("no connection").waitFor();
    await receiver.start(process.env.RECEIVER, sink, "--page-payloads", `--page-listen=${new URL(receiver.page).host}`);
    await page.getByText("live", { exact: true }).waitFor();
    await receiver.send(receiver.event("open", `after${i}@example.com`));
    await page.locator("#events tr", { hasText: `after${i}@example.com` }).waitFor();
  }
  assert.equal(await page.locator("#events tr", { hasText: "before@example.com" }).count(), 0); // the receiver has forgotten it, and so has the page
  await page.getByLabel("Type").fill("nothing"); // connects again, which ends what the restarts have begun
  await page.getByText("No event yet.").waitFor();
  await view.holdsNoMore(first);
  view.forgive(/ERR_CONNECTION|ERR_INCOMPLETE_CHUNKED_ENCODING/);
});

test("it comes back after the receiver was away", async () => {
  await open();
  await receiver.send(receiver.event());
  await rows().first().waitFor();
  await page.context().setOffline(true);
  await page.evaluate(() => window.pageSource.close());
  await page.context().setOffline(false);
  await page.evaluate(() => window.pageSource.dispatchEvent(new Event("error")));
  await page.getByText("no connection").waitFor();
  await page.getByText("live", { exact: true }).waitFor();
  await until(() => document.querySelectorAll("#events tr").length === 1); // as before, and not twice
});

for (const [name, options] of Object.entries({ light: {}, dark: { colorScheme: "dark" }, "360 px": { viewport: { width: 360, height: 740 } } })) {
  test(`axe finds nothing: ${name}`, async () => {
    await open(options);
    sink.status = 422;
    await receiver.send(receiver.event("open"), receiver.event("click"));
    await until(() => document.querySelectorAll("#events tr").length >= 4);
    sink.status = 503;
    await receiver.send(receiver.event("open"));
    await view.showDead(2);
    await page.getByRole("button", { name: "Show what waits" }).click();
    await until(() => document.querySelector("[data-hop=sink] .badge").textContent === "fails");
    await view.axe("page");
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page is wider than the window");
    await page.getByRole("button", { name: /show details/ }).first().click();
    await until(() => document.querySelector("#details-event pre").textContent !== "");
    await view.axe("details");
    await view.picture(`${name.replace(" ", "-")}-details`, {});
    await page.keyboard.press("Escape");
    await view.picture(name.replace(" ", "-"));
    await page.getByRole("checkbox", { name: "Select all" }).check();
    await page.getByRole("button", { name: "Purge selected" }).click();
    await view.axe("question");
  });
}

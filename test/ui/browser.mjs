// A real Chromium, and windows of it.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const executablePath = process.env.CHROMIUM || ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(path => existsSync(path));
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const patience = 2 * 60_000; // bounds waits that a busy machine makes long

// fastest is the shortest of five times, in milliseconds. A busy machine makes some longer, and a page that is late by design all.
export async function fastest(measure) {
  const times = [];
  for (let i = 0; i < 5; i++) {
    const begun = performance.now();
    await measure(i);
    times.push(performance.now() - begun);
  }
  return Math.min(...times);
}

export const launch = () => chromium.launch({ executablePath, args: flags });

// countTimers keeps the timers that are running in window.timers.
function countTimers() {
  window.timers = new Set();
  const { setTimeout: start, setInterval: repeat, clearTimeout: end } = window;
  window.setTimeout = (call, ...rest) => {
    const id = start((...args) => { window.timers.delete(id); call(...args); }, ...rest);
    window.timers.add(id);
    return id;
  };
  window.setInterval = (...args) => { const id = repeat(...args); window.timers.add(id); return id; };
  window.clearTimeout = window.clearInterval = id => { window.timers.delete(id); end(id); };
}

// Window is one of its own, which keeps what the page complains about.
export class Window {
  #browser;
  #faults = [];

  constructor(browser) { this.#browser = browser; }

  // list loads a list again and again until it has as many rows. The page loads it when it is told to, maybe while it changes.
  async list(button, rows, count) {
    for (const end = performance.now() + patience; ;) {
      await this.page.getByRole("button", { name: button }).click();
      try {
        await this.page.waitForFunction(([rows, count]) => document.querySelectorAll(rows).length === count, [rows, count], { polling: 50, timeout: 2000 });
        return;
      } catch (error) {
        if (performance.now() > end) throw error;
      }
    }
  }

  showDead(count) { return this.list("Show dead letters", "#dead tr", count); }
  showWaiting(count) { return this.list("Show what waits", "#backlog tr", count); }

  // open opens a page and waits until it is live.
  async open(url, options = {}) {
    const context = await this.#browser.newContext({ viewport: { width: 1200, height: 900 }, ...options });
    this.page = await context.newPage();
    this.page.setDefaultTimeout(patience);
    this.page.on("pageerror", error => this.#faults.push(error.message));
    this.page.on("console", message => message.type() === "error" && this.#faults.push(message.text()));
    await this.page.addInitScript(countTimers);
    await this.page.goto(url);
    await this.page.getByText("live", { exact: true }).waitFor();
    return this.page;
  }

  // axe checks what a screen reader and a keyboard need.
  async axe(where) {
    const { violations } = await new AxeBuilder({ page: this.page }).withTags(tags).analyze();
    assert.deepEqual(violations.map(({ id, nodes }) => `${where}: ${id}: ${nodes.map(node => node.html).join("; ")}`), []);
  }

  // used returns what the page holds after a collection of garbage.
  async used() {
    this.session ||= await this.page.context().newCDPSession(this.page);
    await this.session.send("HeapProfiler.collectGarbage");
    const { usedSize } = await this.session.send("Runtime.getHeapUsage");
    return { heap: usedSize, ...await this.page.evaluate(() => ({ nodes: document.querySelectorAll("*").length, timers: window.timers.size })) };
  }

  // picture takes a picture if there is a folder for pictures.
  async picture(name, options = { fullPage: true }) {
    if (process.env.SCREENSHOTS) await this.page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png`, ...options });
  }

  // forgive forgets complaints that the test has caused, such as requests to a receiver that does not run.
  forgive(pattern) { this.#faults = this.#faults.filter(fault => !pattern.test(fault)); }

  // holdsNoMore fails unless the page holds what it held before.
  async holdsNoMore(before) {
    const now = await this.used();
    assert.ok(now.nodes <= before.nodes + 5, `${before.nodes} elements became ${now.nodes}`);
    assert.ok(now.heap < before.heap + (2 << 20), `${before.heap} bytes became ${now.heap}`);
    assert.ok(now.timers <= before.timers + 1, `${before.timers} timers became ${now.timers}`); // it draws, or it does not
  }

  async close() { await this.page?.context().close(); }
  check() { assert.deepEqual(this.#faults, []); }
}

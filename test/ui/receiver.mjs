// What the tests run: a real receiver with a buffer, a sink that answers as it is told, and the page of all receivers.
import { createHmac } from "node:crypto";
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const key = "key-of-the-page";
const registered = "https://hooks.example.com/hook";

// listen starts a server on loopback and returns its port.
const listen = server => new Promise(resolve => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));

export class Sink {
  status = 202;
  answer = "";
  requests = 0;
  #server = createServer((request, response) => {
    request.resume().on("end", () => {
      this.requests++;
      response.writeHead(this.status).end(this.answer);
    });
  });

  async start() { this.url = `http://127.0.0.1:${await listen(this.#server)}/events`; }
  stop() { this.#server.close(); this.#server.closeAllConnections(); }
}

export class Receiver {
  #folder = mkdtempSync(join(tmpdir(), "page-"));
  #process;
  log = "";
  #sent = 0;
  #name;

  // A name keeps the messages of receivers apart.
  constructor(name = "message") { this.#name = name; }

  // start starts the receiver and waits until it serves.
  async start(binary, sink, ...flags) {
    const routes = join(this.#folder, "routes.yaml");
    writeFileSync(routes, `routes: [{name: shop/transactional, url: "${registered}", keys: ["${key}"], source: /shop, sink: {uri: "${sink.url}"}}]\n`);
    this.#process = spawn(binary, ["--config", routes, "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--shutdown-delay=0s", "--page-listen=127.0.0.1:0",
      "--buffer=embedded", "--buffer-dir", join(this.#folder, "buffer"), "--buffer-max-bytes=134217728", ...flags], { stdio: ["ignore", "ignore", "pipe"] });
    const found = {};
    await new Promise((resolve, reject) => {
      this.#process.once("error", reject);
      this.#process.once("exit", status => reject(new Error(`the receiver ended with ${status}:\n${this.log}`)));
      this.#process.stderr.on("data", data => {
        this.log += data;
        for (const line of this.log.split("\n")) {
          const { msg, url, listen: address } = line.startsWith("{") && line.endsWith("}") ? JSON.parse(line) : {};
          if (msg === "Serving the page") found.page = url;
          if (msg === "Started") found.address = address;
        }
        if (found.page && found.address) resolve();
      });
    });
    Object.assign(this, found);
  }

  // send posts signed batches with events until the receiver has accepted them.
  async send(...events) {
    const value = JSON.stringify(events);
    const signature = createHmac("sha1", key).update(`${registered}mandrill_events${value}`).digest("base64");
    for (;;) {
      const response = await fetch(`http://${this.address}/hook`, {
        method: "POST", headers: { "X-Mandrill-Signature": signature, "Content-Type": "application/x-www-form-urlencoded" }, body: new URLSearchParams({ mandrill_events: value }),
      });
      if (response.status === 200) return;
      await new Promise(resolve => setTimeout(resolve, 100)); // the buffer is opening
    }
  }

  // event returns one that was never sent before.
  event(kind = "open", recipient = "ana@example.com") {
    const id = `${this.#name}-${++this.#sent}`;
    return { event: kind, _id: id, ts: Math.floor(Date.now() / 1000), msg: { _id: id, email: recipient, state: "sent", tags: ["a&b<c>"] } };
  }

  // end ends the process. Its buffer stays, for another start.
  async end() {
    await end(this.#process);
    this.log = "";
  }

  async stop() {
    await this.end();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function end(process) {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const ended = new Promise(resolve => process.once("exit", resolve));
  process.kill("SIGTERM");
  await ended;
}

// Overview is the page of all receivers, which kubectl mandrill ui serves.
export class Overview {
  #process;

  // start serves the page of receivers, by name: receivers, or why they cannot be reached.
  async start(binary, receivers) {
    const args = Object.entries(receivers).map(([name, receiver]) => `${name}=${typeof receiver === "string" ? receiver : new URL(receiver.page).host}`);
    this.#process = spawn(binary, args, { stdio: ["ignore", "pipe", "inherit"] });
    this.page = await new Promise((resolve, reject) => {
      this.#process.once("error", reject);
      this.#process.once("exit", status => reject(new Error(`the page of all receivers ended with ${status}`)));
      this.#process.stdout.once("data", data => resolve(String(data).trim()));
    });
  }

  stop() { return end(this.#process); }
}

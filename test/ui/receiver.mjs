// What the tests run: a real receiver with a buffer, and a sink that answers as it is told.
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

  // start starts the receiver and waits until it serves.
  async start(binary, sink, ...flags) {
    const routes = join(this.#folder, "routes.yaml");
    writeFileSync(routes, `routes: [{name: shop/transactional, url: "${registered}", keys: ["${key}"], source: /shop, sink: {uri: "${sink.url}"}}]\n`);
    this.#process = spawn(binary, ["--config", routes, "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--shutdown-delay=0s", "--page-listen=127.0.0.1:0",
      "--buffer=embedded", "--buffer-dir", join(this.#folder, "buffer"), "--buffer-max-bytes=134217728", ...flags], { stdio: ["ignore", "ignore", "pipe"] });
    const found = {};
    await new Promise((resolve, reject) => {
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
    const id = `message-${++this.#sent}`;
    return { event: kind, _id: id, ts: Math.floor(Date.now() / 1000), msg: { _id: id, email: recipient, state: "sent", tags: ["a&b<c>"] } };
  }

  async stop() {
    if (this.#process.exitCode === null) {
      const ended = new Promise(resolve => this.#process.once("exit", resolve));
      this.#process.kill("SIGTERM");
      await ended;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

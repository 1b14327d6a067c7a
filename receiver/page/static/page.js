// The script of the page. It draws what the receiver sends: a state a second, and events in messages of at most 50. It holds up to
// maxRows events and as many rows, and draws at most four times a second, so that it costs the same after a day as after a minute.

const maxRows = 200;
const drawInterval = 250; // ms
const rateWindow = 5; // states
const pageSize = 100;

const $ = (selector, root = document) => root.querySelector(selector);

// make returns an element with text or children. Texts never become markup.
function make(name, content, attributes = {}) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (Array.isArray(content)) element.append(...content);
  else if (content !== undefined && content !== null) element.textContent = String(content);
  return element;
}

const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };

function setBadge(element, text, level) {
  setText(element, text);
  if (element.dataset.level !== level) element.dataset.level = level;
}

// duration is the largest unit of seconds, as kubectl shows it.
function duration(seconds) {
  if (seconds < 120) return `${Math.floor(seconds)}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86400)}d`;
}

const ago = seconds => seconds === undefined ? "never" : `${duration(seconds)} ago`;
const sinceDate = text => duration(Math.max(0, (Date.now() - Date.parse(text)) / 1000));
const clock = text => new Date(text).toLocaleTimeString([], { hour12: false });
const plain = number => (number || 0).toLocaleString("en");
const shortType = type => type.replace(/^com\.mandrill\.(message\.)?/, "");
const size = bytes => bytes >= 1 << 30 ? `${(bytes / (1 << 30)).toFixed(1)} GiB` : `${(bytes / (1 << 20)).toFixed(0)} MiB`;

// ---- state

const samples = []; // of the counters, for rates
let announced = "";

function rate(counter) {
  if (samples.length < 2) return "–";
  const first = samples[0], last = samples[samples.length - 1], seconds = (last.at - first.at) / 1000;
  if (seconds <= 0) return "–";
  const perSecond = Math.max(0, last[counter] - first[counter]) / seconds;
  return `${perSecond >= 10 ? Math.round(perSecond).toLocaleString("en") : perSecond.toFixed(1)} events/s`;
}

function setHop(name, text, level, rateText, words) {
  const hop = $(`[data-hop=${name}]`);
  setBadge($(".badge", hop), text, level);
  setText($(".rate", hop), rateText);
  setText($(".words", hop), words);
}

// failureWords is what the last failed request of a webhook says.
function failureWords(webhook) {
  const failure = webhook.failure;
  if (!failure) return "";
  return `${failure.reason}${failure.status ? ` ${failure.status}` : ""} ${ago(failure.age)}`;
}

// answerWords is what the sink of a webhook answered last, as far as it is among the events shown.
function answerWords(webhook) {
  const failed = events.find(event => event.webhook === webhook.name && event.outcome !== "accepted" && event.status && event.answer);
  return failed ? `, “${failed.answer}”` : "";
}

function showState(state) {
  const totals = state.totals, buffer = state.buffer;
  const last = samples[samples.length - 1];
  if (last && totals.received < last.received) samples.length = 0; // the receiver was restarted
  samples.push({ at: Date.parse(state.at), received: totals.received, delivered: totals.delivered });
  if (samples.length > rateWindow + 1) samples.shift();

  setText($("#receiver"), `${state.receiver} · ${state.version}`);
  const badSignature = totals.lastBadSignatureAge !== undefined && totals.lastBadSignatureAge < 300;
  setHop("mandrill", badSignature ? "bad signature" : totals.lastReceivedAge === undefined ? "nothing yet" : "sends",
    badSignature ? "warn" : totals.lastReceivedAge === undefined ? "idle" : "good", rate("received"),
    `last batch ${ago(totals.lastReceivedAge)}` + (totals.lastBadSignatureAge === undefined ? "" : `; last bad signature ${ago(totals.lastBadSignatureAge)}`));
  setHop("receiver", state.notReady ? "not ready" : "ready", state.notReady ? "bad" : "good", `${plain(totals.received)} events`,
    state.notReady || totals.webhooks === 1 ? "1 webhook" : `${plain(totals.webhooks)} webhooks`);
  if (buffer) {
    const level = { Available: "good", Full: "warn" }[buffer.state] || "bad";
    setHop("buffer", buffer.state.toLowerCase(), level, `${plain(totals.waiting)} waiting`,
      `${size(buffer.usedBytes)} of ${size(buffer.maxBytes)}` + (totals.oldestWaitingAge === undefined ? "" : `; the oldest waits for ${duration(totals.oldestWaitingAge)}`) +
      (buffer.delivers ? "" : "; another receiver delivers"));
  } else {
    setHop("buffer", "none", "idle", "Direct mode", "Mandrill waits for the sink");
  }
  const worst = state.webhooks.find(webhook => webhook.failingFor !== undefined);
  const sink = worst ? `${totals.failing > 1 ? `${plain(totals.failing)} sinks fail` : "fails"}` : totals.lastDeliveredAge === undefined ? "nothing yet" : "accepts";
  setHop("sink", sink, worst ? "bad" : totals.lastDeliveredAge === undefined ? "idle" : "good", rate("delivered"),
    (worst ? `${worst.name}: ${failureWords(worst)}${answerWords(worst)}${worst.circuitOpen ? "; circuit open" : ""}. ` : "") +
    `Last delivery ${ago(totals.lastDeliveredAge)}` + (totals.deadLetters ? `; ${plain(totals.deadLetters)} dead letters` : ""));
  announce(worst ? `The sink of ${worst.name} fails: ${worst.failure ? worst.failure.reason : ""}` : state.notReady || "");
  showWebhooks(state);
  payloads = state.payloads;
  const sections = $("#buffer-sections");
  if (sections.hidden === Boolean(buffer)) sections.hidden = !buffer;
}

// announce tells a screen reader what changed, and nothing that did not.
function announce(text) {
  if (text === announced) return;
  setText($("#announcement"), text || "All sinks accept events again");
  announced = text;
}

function webhookCells(webhook) {
  const failing = webhook.failingFor !== undefined;
  return [
    webhook.name, [failing ? `fails: ${failureWords(webhook)}` : webhook.lastDeliveredAge === undefined ? "nothing yet" : "accepts", failing ? "bad" : "idle"],
    plain(webhook.receivedEvents), plain(webhook.deliveredEvents), plain(webhook.waitingEvents), plain(webhook.deadLetters), ago(webhook.lastReceivedAge),
  ];
}

function showWebhooks(state) {
  const body = $("#webhooks");
  while (body.rows.length > state.webhooks.length) body.deleteRow(-1);
  state.webhooks.forEach((webhook, i) => {
    let row = body.rows[i];
    if (!row) {
      row = body.insertRow();
      row.append(make("th", "", { scope: "row" }), make("td", [make("span", "", { class: "badge" })]), ...Array.from({ length: 4 }, () => make("td", "", { class: "number" })), make("td"));
    }
    webhookCells(webhook).forEach((value, column) => {
      if (Array.isArray(value)) setBadge(row.cells[column].firstChild, ...value);
      else setText(row.cells[column], value);
    });
  });
  const more = state.totals.webhooks - state.webhooks.length;
  setText($("#webhooks-more"), more > 0 ? `${plain(more)} more webhooks are not shown.` : "");
  const names = $("#webhook-names"), wanted = state.webhooks.map(webhook => webhook.name).sort();
  if (names.dataset.names !== wanted.join()) {
    names.dataset.names = wanted.join();
    names.replaceChildren(...wanted.map(name => make("option", undefined, { value: name })));
  }
}

// ---- events

let events = []; // shown, the newest first
let incoming = []; // not drawn yet, the newest last
let omitted = 0, paused = false, drawing = 0, payloads = false;

function receiveEvents(message) {
  if (message.reset) { events = []; incoming = []; omitted = 0; $("#events").replaceChildren(); }
  incoming.push(...message.events);
  omitted += message.omitted || 0;
  if (incoming.length > maxRows) { omitted += incoming.length - maxRows; incoming = incoming.slice(-maxRows); }
  scheduleDraw();
}

function scheduleDraw() {
  if (!drawing && !paused && !document.hidden) drawing = setTimeout(draw, drawInterval / 2);
}

function draw() {
  drawing = 0;
  if (paused || document.hidden) return;
  const body = $("#events"), fresh = incoming.reverse();
  incoming = [];
  events = [...fresh, ...events].slice(0, maxRows);
  body.prepend(...fresh.map(eventRow));
  for (let row = body.lastElementChild; body.rows.length > maxRows;) { // the row that has the focus stays
    const before = row.previousElementSibling;
    if (!row.contains(document.activeElement)) row.remove();
    row = before;
  }
  setText($("#events-note"), events.length === 0 ? "No event yet." : omitted > 0 ? `${plain(omitted)} events came too fast to be shown.` : "");
}

function eventRow(event) {
  const open = make("button", shortType(event.type), { type: "button", "aria-label": `${shortType(event.type)}, show details` });
  open.addEventListener("click", () => showDetails(event));
  const level = event.outcome === "accepted" ? "good" : event.outcome.startsWith("dead_letter") ? "warn" : "bad";
  return make("tr", [
    make("td", clock(event.time)), make("td", [open, ...(event.test ? [make("span", " test")] : [])]), make("td", event.recipient || "–"), make("td", event.webhook),
    make("td", event.attempt, { class: "number" }), make("td", [make("span", event.outcome, { class: "badge", "data-level": level })]),
    make("td", event.status || "–", { class: "number" }), make("td", `${plain(event.durationMs)} ms`, { class: "number" }),
  ]);
}

// ---- details of an event

let shownEvent = null, form = "headers";

async function showDetails(event) {
  const fields = { Type: event.type, Id: event.id, Time: event.time, Webhook: event.webhook, Batch: event.batch, Recipient: event.recipient, Message: event.message,
    Reason: event.reason, "Answer of the sink": event.answer };
  $("#details-fields").replaceChildren(...Object.entries(fields).filter(([, value]) => value).flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
  $("#details-attempts").replaceChildren();
  $("#details-event").hidden = true;
  setText($("#details-note"), "");
  $("#details").showModal();
  try {
    const query = new URLSearchParams({ id: event.id, webhook: event.webhook });
    if (payloads) query.set("payload", "true");
    const { events: attempts } = await request(`api/events?${query}`);
    $("#details-attempts").replaceChildren(...attempts.map(attempt => make("li",
      `${clock(attempt.time)}: attempt ${attempt.attempt}, ${attempt.outcome}${attempt.status ? `, status ${attempt.status}` : ""}, ${plain(attempt.durationMs)} ms`)));
    shownEvent = attempts.map(attempt => attempt.event).findLast(Boolean) || null;
    $("#details-event").hidden = !shownEvent;
    setText($("#details-note"), shownEvent ? "" : payloads ? "The CloudEvent is not in memory any more." : "CloudEvents are not shown: --page-payloads is not set.");
    showForm();
  } catch (error) {
    setText($("#details-note"), error.message);
  }
}

// attributesOf returns the headers of the binary form.
function attributesOf(event) {
  const headers = [];
  for (const [name, value] of Object.entries(event)) {
    if (name === "data" || name === "data_base64") continue;
    headers.push([name === "datacontenttype" ? "content-type" : `ce-${name}`, encodeHeader(String(value))]);
  }
  return headers;
}

// encodeHeader is the percent encoding of CloudEvents over HTTP.
function encodeHeader(text) {
  return Array.from(text, c => c > " " && c <= "~" && c !== '"' && c !== "%" ? c : encodeURIComponent(c)).join("");
}

const quoted = text => `'${text.replaceAll("'", `'\\''`)}'`;

function formOf(event, name) {
  const data = event.data === undefined ? event.data_base64 || "" : JSON.stringify(event.data);
  switch (name) {
  case "json": return JSON.stringify(event, null, 2);
  case "curl":
    if (event.data_base64 !== undefined) return `base64 -d <<<${quoted(data)} | curl "$SINK" --data-binary @- \\\n` + curlHeaders(event).join(" \\\n");
    return `curl "$SINK" \\\n${curlHeaders(event).join(" \\\n")} \\\n  --data-binary ${quoted(data)}`;
  }
  return [...attributesOf(event).map(([header, value]) => `${header}: ${value}`), "", data].join("\n");
}

const curlHeaders = event => attributesOf(event).map(([header, value]) => `  -H ${quoted(`${header}: ${value}`)}`);

function showForm() {
  for (const button of document.querySelectorAll("[data-form]")) button.setAttribute("aria-pressed", String(button.dataset.form === form));
  setText($("#details-event pre"), shownEvent ? formOf(shownEvent, form) : "");
}

// ---- the buffer

async function request(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "X-Mandrill-Page": "1", "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, options);
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || `the receiver answered with status ${response.status}`);
  return answer;
}

async function loadBacklog() {
  try {
    const { batches, next } = await request(`api/backlog?limit=${pageSize}`);
    $("#backlog").replaceChildren(...batches.map(batch => make("tr", [make("th", batch.position, { scope: "row" }), make("td", batch.webhook),
      make("td", plain(batch.events), { class: "number" }), make("td", `${sinceDate(batch.received)} ago`)])));
    $("#backlog-table").hidden = batches.length === 0;
    setText($("#backlog-note"), batches.length === 0 ? "Nothing waits." : next && batches.length === pageSize ? `The first ${batches.length}; receiver backlog list shows all.` : "");
  } catch (error) {
    setText($("#backlog-note"), error.message);
  }
}

async function loadDead(note) {
  try {
    const { deadLetters, next } = await request(`api/dead-letters?limit=${pageSize}`);
    $("#dead").replaceChildren(...deadLetters.map(letter => {
      const box = make("input", undefined, { type: "checkbox", value: letter.seq, "aria-label": `Select dead letter ${letter.seq}` });
      return make("tr", [make("td", [box]), make("td", letter.seq, { class: "number" }), make("td", letter.webhook),
        make("td", letter.events ? `batch of ${letter.events}` : shortType(letter.type || "–")), make("td", letter.reason), make("td", letter.status || "–", { class: "number" }),
        make("td", letter.attempts, { class: "number" }), make("td", sinceDate(letter.deadLettered))]);
    }));
    $("#dead-table").hidden = deadLetters.length === 0;
    $("#dead-all").checked = false;
    setText($("#dead-note"), [note, deadLetters.length === 0 ? "There are no dead letters." : next && deadLetters.length === pageSize ? `The first ${deadLetters.length}; receiver dead-letters list shows all.` : ""].filter(Boolean).join(" "));
  } catch (error) {
    setText($("#dead-note"), error.message);
  }
  enableWork();
}

const selected = () => [...document.querySelectorAll("#dead input:checked")].map(box => Number(box.value));

function enableWork() {
  const none = selected().length === 0;
  $("#redrive").disabled = none;
  $("#purge").disabled = none;
}

async function work(verb, question) {
  const seqs = selected();
  if (seqs.length === 0 || !await confirmed(question.replace("N", seqs.length === 1 ? "1 dead letter" : `${seqs.length} dead letters`))) return;
  let note;
  try {
    const done = await request(`api/dead-letters/${verb}`, { seqs });
    note = `${verb === "redrive" ? "Redrove" : "Purged"} ${done.count}.` + (done.missing ? ` ${done.missing.length} were gone already.` : "") +
      (done.damaged ? ` ${done.damaged.length} cannot be read.` : "");
  } catch (error) {
    note = error.message;
  }
  await loadDead(note);
}

// confirmed asks, and reports whether the answer was yes.
function confirmed(question) {
  const dialog = $("#confirm");
  setText($("#confirm-text"), question);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise(resolve => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

// ---- the stream

let source = null;

function connect() {
  if (source) source.close();
  const query = new URLSearchParams([...new FormData($("#filter"))].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value));
  source = window.pageSource = new EventSource(`api/stream?${query}`); // tests reach it there
  source.addEventListener("open", () => setBadge($("#connection"), "live", "good"));
  source.addEventListener("state", message => showState(JSON.parse(message.data)));
  source.addEventListener("events", message => receiveEvents(JSON.parse(message.data)));
  source.addEventListener("error", () => {
    setBadge($("#connection"), "no connection", "bad");
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 3000); // the browser gives up after an error status
  });
}

function start() {
  let typing = 0;
  $("#filter").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(connect, 300); });
  $("#filter").addEventListener("submit", event => event.preventDefault());
  $("#pause").addEventListener("click", event => {
    paused = !paused;
    event.currentTarget.setAttribute("aria-pressed", String(paused));
    scheduleDraw();
  });
  document.addEventListener("visibilitychange", scheduleDraw);
  $("#details .close").addEventListener("click", () => $("#details").close());
  $("#details").addEventListener("close", () => { shownEvent = null; showForm(); });
  for (const button of document.querySelectorAll("[data-form]")) button.addEventListener("click", () => { form = button.dataset.form; showForm(); });
  $("#confirm .yes").addEventListener("click", () => $("#confirm").close("yes"));
  $("#confirm .no").addEventListener("click", () => $("#confirm").close("no"));
  $("#load-backlog").addEventListener("click", loadBacklog);
  $("#load-dead").addEventListener("click", () => loadDead());
  $("#dead").addEventListener("change", enableWork);
  $("#dead-all").addEventListener("change", event => {
    for (const box of document.querySelectorAll("#dead input")) box.checked = event.currentTarget.checked;
    enableWork();
  });
  $("#redrive").addEventListener("click", () => work("redrive", "Send N again?"));
  $("#purge").addEventListener("click", () => work("purge", "Delete N for good?"));
  connect();
}

start();

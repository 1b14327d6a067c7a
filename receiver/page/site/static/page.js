// The script of the page. It draws what the receiver sends: a state a second, and events in messages of at most 50. It holds up to
// maxRows events and as many rows, and draws at most eight times a second, so that it costs the same after a day as after a minute.
// kubectl mandrill ui serves the same page for all receivers: the state then has a part for each, and events and lists name theirs.

const maxRows = 200;
const drawInterval = 125; // ms
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

const samples = new Map(); // of the counters by receiver, for rates
let announced = "", several = false;

// record takes a sample of each receiver's counters, which have its own clock and begin with its process.
function record(parts) {
  for (const name of samples.keys()) if (!parts.some(part => part.name === name && part.at)) samples.delete(name);
  for (const { name, at, totals } of parts.filter(part => part.at)) {
    const list = samples.get(name) || [], sample = { at: Date.parse(at), received: totals.received, delivered: totals.delivered };
    const last = list[list.length - 1];
    if (last && sample.at === last.at) continue;
    if (last && (sample.at < last.at || sample.received < last.received)) list.length = 0; // the receiver was restarted
    list.push(sample);
    if (list.length > rateWindow + 1) list.shift();
    samples.set(name, list);
  }
}

// rate is the rate of a counter, of one receiver or of all.
function rate(counter, name) {
  let perSecond = 0, known = false;
  for (const list of name === undefined ? samples.values() : [samples.get(name) || []]) {
    if (list.length < 2) continue;
    const first = list[0], last = list[list.length - 1];
    perSecond += Math.max(0, last[counter] - first[counter]) / ((last.at - first.at) / 1000);
    known = true;
  }
  return known ? `${perSecond >= 10 ? Math.round(perSecond).toLocaleString("en") : perSecond.toFixed(1)} events/s` : "–";
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
  return `${failure.reason}${failure.status ? ` ${failure.status}` : ""}, ${ago(failure.age)}`;
}

// answerWords is what the sink of a webhook answered last, as far as it is among the events shown.
function answerWords(webhook) {
  const failed = events.find(event => event.webhook === webhook.name && event.outcome !== "accepted" && event.status && event.answer);
  return failed ? `, “${failed.answer}”` : "";
}

function showState(state) {
  const totals = state.totals, buffer = state.buffer;
  const parts = state.receivers || [{ name: state.receiver, at: state.at, notReady: state.notReady, totals }];
  record(parts);
  showSeveral(Boolean(state.receivers));
  setText($("#receiver"), several ? `all receivers · kubectl-mandrill ${state.version}` : `${state.receiver} · ${state.version}`);
  const badSignature = totals.lastBadSignatureAge !== undefined && totals.lastBadSignatureAge < 300;
  setHop("mandrill", badSignature ? "bad signature" : totals.lastReceivedAge === undefined ? "nothing yet" : "sends",
    badSignature ? "warn" : totals.lastReceivedAge === undefined ? "idle" : "good", rate("received"),
    `last batch ${ago(totals.lastReceivedAge)}` + (totals.lastBadSignatureAge === undefined ? "" : `; last bad signature ${ago(totals.lastBadSignatureAge)}`));
  const ready = parts.filter(part => !part.problem && !part.notReady).length;
  const webhooks = totals.webhooks === 1 ? "1 webhook" : `${plain(totals.webhooks)} webhooks`;
  setHop("receiver", several ? `${ready} of ${parts.length} ready` : ready ? "ready" : "not ready", ready === parts.length ? "good" : ready ? "warn" : "bad",
    `${plain(totals.received)} events`, ready === parts.length ? webhooks : several ? `${webhooks}; not ready: ${missing(parts)}` : `${state.notReady}; ${webhooks}`);
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
  if (several) showReceivers(parts);
  showWebhooks(state);
  deadLetters = totals.deadLetters;
  payloads = state.payloads;
  const sections = $("#buffer-sections");
  if (sections.hidden === Boolean(buffer)) sections.hidden = !buffer;
}

// announce tells a screen reader what changed, and nothing that did not.
function announce(text) {
  if (text === announced) return;
  setText($("#announcement"), text || "All receivers are ready, and all sinks accept events");
  announced = text;
}

function webhookCells(webhook) {
  const failing = webhook.failingFor !== undefined;
  return [
    webhook.name, [failing ? "fails" : webhook.lastDeliveredAge === undefined ? "nothing yet" : "accepts", failing ? "bad" : "idle", failing ? failureWords(webhook) : ""],
    plain(webhook.receivedEvents), plain(webhook.deliveredEvents), plain(webhook.waitingEvents), plain(webhook.deadLetters), ago(webhook.lastReceivedAge),
  ];
}

// missing names up to three receivers that are not ready. The table of receivers says why.
function missing(parts) {
  const names = parts.filter(part => part.problem || part.notReady).map(part => part.name);
  return names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ");
}

// showSeveral shows the parts of the page that only several receivers have.
function showSeveral(now) {
  if (several === now) return;
  several = now;
  document.body.classList.toggle("several", now);
  $("#receivers-section").hidden = !now;
  const title = now ? "Mandrill receivers" : "Mandrill receiver";
  setText($("#title"), title);
  setText($("#receiver-hop"), now ? "Receivers" : "Receiver");
  document.title = title;
}

function receiverCells(part) {
  const { buffer, totals } = part;
  if (part.problem) return [part.name, ["not reached", "bad", part.problem], "–", "–", "–", "–", "–", "–"];
  return [
    part.name, part.notReady ? ["not ready", "bad", part.notReady] : ["ready", "good", ""], rate("received", part.name), rate("delivered", part.name), plain(totals.waiting),
    plain(totals.deadLetters), buffer ? `${buffer.state.toLowerCase()}, ${size(buffer.usedBytes)} of ${size(buffer.maxBytes)}${buffer.delivers ? "" : ", another delivers"}` : "none",
    part.version,
  ];
}

const showReceivers = parts => showRows($("#receivers"), parts.map(receiverCells), 4);

// showRows shows rows that begin with a name and a badge with words, which some numbers follow.
function showRows(body, rows, numbers) {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((values, i) => {
    let row = body.rows[i];
    if (!row) {
      row = body.insertRow();
      row.append(make("th", "", { scope: "row" }), make("td", [make("span", "", { class: "badge" }), make("span", "", { class: "words" })], { class: "wrap" }),
        ...values.slice(2).map((_, n) => make("td", "", n < numbers ? { class: "number" } : {})));
    }
    values.forEach((value, column) => {
      const cell = row.cells[column];
      if (!Array.isArray(value)) return setText(cell, value);
      setBadge(cell.firstChild, value[0], value[1]);
      setText(cell.lastChild, value[2] ? ` ${value[2]}` : "");
    });
  });
}

function showWebhooks(state) {
  showRows($("#webhooks"), state.webhooks.map(webhookCells), 4);
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
  if (!drawing && !paused && !document.hidden) drawing = setTimeout(draw, drawInterval);
}

// insertEvent shows an event among those that are newer and older.
function insertEvent(body, event) {
  const behind = events.findIndex(other => other.at <= event.at), place = behind < 0 ? events.length : behind;
  events.splice(place, 0, event);
  body.insertBefore(eventRow(event), body.rows[place] || null);
}

function draw() {
  drawing = 0;
  if (paused || document.hidden) return;
  const body = $("#events"), fresh = incoming.reverse();
  incoming = [];
  for (const event of fresh) event.at = Date.parse(event.time);
  fresh.sort((a, b) => b.at - a.at);
  if (events.length === 0 || fresh.length === 0 || fresh[fresh.length - 1].at >= events[0].at) {
    events.unshift(...fresh);
    body.prepend(...fresh.map(eventRow));
  } else {
    for (const event of fresh.reverse()) insertEvent(body, event); // receivers send at the same time, so the newest is not always the last
  }
  events.length = Math.min(events.length, maxRows);
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
    make("td", event.receiver, { class: "of-receiver" }),
    make("td", event.attempt, { class: "number" }), make("td", [make("span", event.outcome, { class: "badge", "data-level": level })]),
    make("td", event.status || "–", { class: "number" }), make("td", `${plain(event.durationMs)} ms`, { class: "number" }),
  ]);
}

// ---- details of an event

let shownEvent = null, form = "headers";

async function showDetails(event) {
  const fields = { Type: event.type, Id: event.id, Time: event.time, Webhook: event.webhook, Receiver: event.receiver, Batch: event.batch, Recipient: event.recipient, Message: event.message,
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
      `${clock(attempt.time)}: attempt ${attempt.attempt}, ${attempt.outcome}${attempt.status ? `, status ${attempt.status}` : ""}, ${plain(attempt.durationMs)} ms${attempt.receiver ? `, by ${attempt.receiver}` : ""}`)));
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

// A list shows a page at a time, however long it is.
const pages = { backlog: { shown: "", next: "" }, dead: { shown: "", next: "" } };
let deadLetters = 0; // in all

// readPage reads the page of a list that begins after a place, and returns its items and what to say of it.
async function readPage(list, path, field, after) {
  const answer = await request(`api/${path}?${new URLSearchParams({ limit: pageSize, ...(after ? { after } : {}) })}`);
  const next = answer.next && answer.next !== "0" ? String(answer.next) : "";
  Object.assign(pages[list], { shown: after, next });
  $(`#next-${list}`).hidden = !next;
  $(`#${list}-table`).hidden = answer[field].length === 0;
  return { items: answer[field], last: !next, first: !after, problems: (answer.problems || []).map(problem => `${problem}.`) };
}

async function loadBacklog(after = "") {
  try {
    const { items, first, problems } = await readPage("backlog", "backlog", "batches", after);
    $("#backlog").replaceChildren(...items.map(batch => make("tr", [make("th", batch.position, { scope: "row" }), make("td", batch.receiver, { class: "of-receiver" }),
      make("td", batch.webhook), make("td", plain(batch.events), { class: "number" }), make("td", `${sinceDate(batch.received)} ago`)])));
    setText($("#backlog-note"), [items.length === 0 ? first ? "Nothing waits." : "Nothing more waits." : "", ...problems].filter(Boolean).join(" "));
  } catch (error) {
    setText($("#backlog-note"), error.message);
  }
}

async function loadDead(note = "", after = "") {
  try {
    const { items, first, last, problems } = await readPage("dead", "dead-letters", "deadLetters", after);
    $("#dead").replaceChildren(...items.map(letter => {
      const box = make("input", undefined, { type: "checkbox", value: letter.seq, "aria-label": `Select dead letter ${letter.seq}`, "data-receiver": letter.receiver || "" });
      return make("tr", [make("td", [box]), make("td", letter.seq, { class: "number" }), make("td", letter.receiver, { class: "of-receiver" }), make("td", letter.webhook),
        make("td", letter.events ? `batch of ${letter.events}` : shortType(letter.type || "–")), make("td", letter.reason), make("td", letter.status || "–", { class: "number" }),
        make("td", letter.attempts, { class: "number" }), make("td", sinceDate(letter.deadLettered))]);
    }));
    $("#dead-all").checked = false;
    const count = items.length === 0 ? first ? "There are no dead letters." : "There are no more dead letters." :
      first && last ? "" : `${items.length} of ${plain(Math.max(deadLetters, items.length))}. The commands redrive and purge all at once: dead-letters redrive --all.`;
    setText($("#dead-note"), [note, count, ...problems].filter(Boolean).join(" "));
  } catch (error) {
    setText($("#dead-note"), [note, error.message].filter(Boolean).join(" "));
  }
  enableWork();
}

const selected = () => [...document.querySelectorAll("#dead input:checked")];

function enableWork() {
  const none = selected().length === 0;
  $("#redrive").disabled = none;
  $("#purge").disabled = none;
}

// work redrives or purges what is selected: each receiver gets the numbers of its dead letters.
async function work(verb, question) {
  const boxes = selected();
  if (boxes.length === 0 || !await confirmed(question.replace("N", boxes.length === 1 ? "1 dead letter" : `${boxes.length} dead letters`))) return;
  const done = { count: 0, missing: 0, damaged: 0 }, errors = [];
  for (const [receiver, group] of Map.groupBy(boxes, box => box.dataset.receiver)) {
    try {
      const query = receiver ? `?${new URLSearchParams({ receiver })}` : "";
      const answer = await request(`api/dead-letters/${verb}${query}`, { seqs: group.map(box => Number(box.value)) });
      done.count += answer.count;
      done.missing += (answer.missing || []).length;
      done.damaged += (answer.damaged || []).length;
    } catch (error) {
      errors.push(error.message);
    }
  }
  const counted = done.count > 0 || errors.length === 0 ? `${verb === "redrive" ? "Redrove" : "Purged"} ${done.count}.` : "";
  const note = [counted, done.missing ? `${done.missing} were gone already.` : "", done.damaged ? `${done.damaged} cannot be read.` : "", ...errors].filter(Boolean).join(" ");
  await loadDead(note, pages.dead.shown);
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

let source = null, reconnect = 0;

function connect() {
  clearTimeout(reconnect);
  if (source) source.close();
  const query = new URLSearchParams([...new FormData($("#filter"))].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value));
  source = window.pageSource = new EventSource(`api/stream?${query}`); // tests reach it there
  source.addEventListener("open", () => setBadge($("#connection"), "live", "good"));
  source.addEventListener("state", message => showState(JSON.parse(message.data)));
  source.addEventListener("events", message => receiveEvents(JSON.parse(message.data)));
  source.addEventListener("error", () => {
    setBadge($("#connection"), "no connection", "bad");
    clearTimeout(reconnect);
    if (source.readyState === EventSource.CLOSED) reconnect = setTimeout(connect, 3000); // the browser gives up after an error status
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
  $("#load-backlog").addEventListener("click", () => loadBacklog());
  $("#next-backlog").addEventListener("click", () => loadBacklog(pages.backlog.next));
  $("#next-dead").addEventListener("click", () => loadDead("", pages.dead.next));
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

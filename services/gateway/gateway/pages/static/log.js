// The live log: reads server-sent events, draws only the lines that are visible, follows, searches, and links lines.
// 100,000 lines stay smooth, because the page has about a hundred elements for them.
"use strict";

const LINE = 20;  // pixels; the height of .row in the style sheet
const MOST_LINES = 500000;  // kept in the page; the download has all
const MOST_SHOWN = 4000;  // characters of a line
const CONTROLS = /\x1b(?:\[[0-9;:?]*[ -\/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?|[\x00-\x08\x0a-\x1f\x7f]|[\u202a-\u202e\u2066-\u2069]/g;
const KINDS = [  // as in log_lines.py
  ["bad", /^(?:#\d+ )?(?:[\d.]+ )?(?:ERROR|FAILED|error:|Error:|fatal:|The build failed)|^#\d+ CANCELED/],
  ["warn", /^(?:#\d+ )?(?:[\d.]+ )?(?:WARN|warning:|Warning:)/],
  ["head", /^#\d+ \[|^STEP /],
  ["done", /^#\d+ (?:DONE|CACHED)/],
];

class LogViewer {
  constructor(root) {
    this.root = root;
    this.lines = [];  // {number, text} or {missing}
    this.hits = [];
    this.hit = -1;
    this.term = "";
    this.linked = Number((location.hash.match(/^#L(\d{1,9})$/) || [])[1] || 0);
    this.follows = !this.linked;
    this.isDirty = false;
    this.steps = new Map();
    this.build();
    this.connect();
  }

  build() {
    const make = (name, properties) => Object.assign(document.createElement(name), properties);
    this.search = make("input", { type: "search", placeholder: "Search the log", maxLength: 200, autocomplete: "off" });
    this.search.setAttribute("aria-label", "Search the log");
    this.previous = make("button", { type: "button", className: "quiet", textContent: "Previous" });
    this.next = make("button", { type: "button", className: "quiet", textContent: "Next" });
    this.count = make("span", { className: "count" });
    this.count.setAttribute("role", "status");
    this.follow = make("input", { type: "checkbox", checked: this.follows });
    const label = make("label", { className: "choice" });
    label.append(this.follow, "Follow");
    this.state = make("span", { className: "state quiet", textContent: "Connecting…" });
    this.state.setAttribute("role", "status");
    const tools = make("div", { className: "tools" });
    tools.append(this.search, this.previous, this.next, this.count, label, this.state);
    this.viewer = make("div", { className: "viewer", tabIndex: 0 });
    this.viewer.setAttribute("role", "region");
    this.viewer.setAttribute("aria-label", "Lines of the log");
    this.space = make("div", {});
    this.rows = make("div", { className: "rows" });
    this.viewer.append(this.space, this.rows);
    this.root.replaceChildren(tools, this.viewer);

    this.viewer.addEventListener("scroll", () => {
      const bottom = this.viewer.scrollHeight - this.viewer.clientHeight;
      this.follows = this.follow.checked = this.viewer.scrollTop >= bottom - LINE;
      this.draw();
    }, { passive: true });
    this.follow.addEventListener("change", () => { this.follows = this.follow.checked; this.draw(); });
    let waiting;
    this.search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.find(this.search.value), 150);
    });
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); this.go(event.shiftKey ? -1 : 1); }
    });
    this.previous.addEventListener("click", () => this.go(-1));
    this.next.addEventListener("click", () => this.go(1));
    addEventListener("hashchange", () => this.link());
    new ResizeObserver(() => this.draw()).observe(this.viewer);
  }

  connect() {
    this.isComplete = false;
    this.source = new EventSource(this.root.dataset.url);
    this.source.onopen = () => this.say("Reading…");
    this.source.onmessage = (event) => this.add(event.lastEventId, event.data);
    this.source.addEventListener("step", (event) => this.step(JSON.parse(event.data)));
    this.source.addEventListener("restart", () => { this.lines = []; this.steps.clear(); this.find(this.term); });
    this.source.addEventListener("gap", (event) => {
      const gap = JSON.parse(event.data);
      this.push({ missing: `lines ${gap.from} to ${gap.to} are not available live; the download has them` });
    });
    this.source.addEventListener("end", (event) => this.end(JSON.parse(event.data)));
    this.source.onerror = () => {
      if (this.isComplete) return;
      if (this.source.readyState !== EventSource.CLOSED) { this.say("The connection is lost; reconnecting…"); return; }
      this.say("The live log is not available now; trying again…");
      this.pause = Math.min((this.pause || 2500) * 2, 60000);
      setTimeout(() => { this.lines = []; this.connect(); }, this.pause);
    };
  }

  add(id, text) {
    const shown = text.replace(/\n+$/, "").split("\n").pop();  // a progress bar writes its line again
    this.push({ number: Number(id.split("-")[1]), text: shown.replace(CONTROLS, "") });
  }

  push(line) {
    if (this.lines.length >= MOST_LINES) { this.isFull = true; return; }
    this.lines.push(line);
    if (this.term && line.text && this.matches(line)) this.hits.push(this.lines.length - 1);
    this.later();
  }

  later() {
    if (this.isDirty) return;
    this.isDirty = true;
    requestAnimationFrame(() => { this.isDirty = false; this.draw(); });
  }

  end(result) {
    this.isComplete = true;
    this.source.close();
    this.say(`${this.lines.length.toLocaleString("en")} lines${this.isFull ? ", the first ones" : ""} · the end`);
    if (this.linked) this.link();
    document.body.dispatchEvent(new CustomEvent("build-ended", { detail: result.succeeded }));
    this.later();
  }

  say(text) { this.state.textContent = text; }

  // --- drawing

  draw() {
    const height = this.lines.length * LINE;
    if (this.height !== height) { this.height = height; this.space.style.height = `${height}px`; }
    if (this.follows) this.viewer.scrollTop = height;
    else if (this.linked && !this.isLinked && this.lines.length && this.lines.at(-1).number >= this.linked) this.link();
    const first = Math.max(Math.floor(this.viewer.scrollTop / LINE) - 10, 0);
    const last = Math.min(first + Math.ceil(this.viewer.clientHeight / LINE) + 20, this.lines.length);
    this.rows.style.transform = `translateY(${first * LINE}px)`;
    const rows = [];
    for (let index = first; index < last; index++) rows.push(this.row(index));
    this.rows.replaceChildren(...rows);
    if (!this.isComplete && this.lines.length) this.say(`${this.lines.length.toLocaleString("en")} lines so far`);
    this.countHits();
  }

  row(index) {
    const line = this.lines[index];
    const row = document.createElement("div");
    row.className = "row";
    if (line.missing) {
      row.classList.add("missing");
      row.append(document.createElement("a"), line.missing);
      return row;
    }
    const link = document.createElement("a");
    link.href = `#L${line.number}`;
    link.textContent = line.number;
    link.tabIndex = -1;
    const text = document.createElement("span");
    this.paint(text, line.text);
    row.append(link, text);
    if (line.number === this.linked) row.classList.add("here");
    if (this.hits[this.hit] === index) row.classList.add("hit");
    return row;
  }

  paint(target, text) {
    const shown = text.length > MOST_SHOWN ? text.slice(0, MOST_SHOWN) + " …" : text;
    const kind = KINDS.find(([, pattern]) => pattern.test(shown));
    if (kind) target.className = kind[0];
    this.mark(target, shown);
  }

  mark(target, text) {
    if (!this.term) { target.textContent = text; return; }
    const lower = text.toLowerCase();
    let done = 0;
    for (let at = lower.indexOf(this.term); at >= 0 && done < 1000; at = lower.indexOf(this.term, done)) {
      const mark = document.createElement("mark");
      mark.textContent = text.slice(at, at + this.term.length);
      target.append(text.slice(done, at), mark);
      done = at + this.term.length;
    }
    target.append(text.slice(done));
  }

  // --- search and links

  matches(line) {
    return line.text && line.text.toLowerCase().includes(this.term);
  }

  find(term) {
    this.term = term.toLowerCase();
    this.hits = [];
    this.hit = -1;
    if (this.term) this.lines.forEach((line, index) => { if (this.matches(line)) this.hits.push(index); });
    if (this.hits.length) this.go(1); else this.draw();
  }

  go(by) {
    if (!this.hits.length) return;
    this.hit = (this.hit + by + this.hits.length) % this.hits.length;
    this.show(this.hits[this.hit]);
  }

  countHits() {
    const total = this.hits.length.toLocaleString("en");
    const text = !this.term ? "" : this.hits.length ? `${this.hit + 1} of ${total}` : "no match";
    if (this.count.textContent !== text) this.count.textContent = text;
    this.previous.disabled = this.next.disabled = !this.hits.length;
  }

  show(index) {
    this.follows = this.follow.checked = false;
    this.viewer.scrollTop = Math.max(index * LINE - this.viewer.clientHeight / 2, 0);
    this.draw();
  }

  link() {
    const match = location.hash.match(/^#L(\d{1,9})$/);
    if (!match) return;
    this.linked = Number(match[1]);
    const index = this.lines.findIndex((line) => line.number === this.linked);
    if (index < 0) return;
    this.isLinked = true;
    this.show(index);
    this.root.scrollIntoView({ block: "nearest" });
  }

  // --- steps while the build runs; afterwards the server draws them

  step(step) {
    if (!document.querySelector("#steps[data-live]")) return;
    this.steps.set(step.number, step);
    if (this.drawsSteps) return;
    this.drawsSteps = true;
    setTimeout(() => { this.drawsSteps = false; this.drawSteps(); }, 250);
  }

  drawSteps() {
    const place = document.querySelector("#steps[data-live]");
    if (!place) return;
    const steps = [...this.steps.values()].sort((a, b) => a.number - b.number).slice(0, 200);
    const times = steps.map((step) => [Date.parse(step.started), step.ended ? Date.parse(step.ended) : NaN]);
    const begin = Math.min(...times.map((time) => time[0]));
    const end = Math.max(...times.flat().filter((time) => time === time), begin + 1);
    const table = document.createElement("table");
    table.className = "timeline";
    const body = table.createTBody();
    steps.forEach((step, index) => {
      const row = body.insertRow();
      const name = document.createElement("th");
      name.scope = "row";
      name.textContent = step.name.slice(0, 200);
      const [from, to] = times[index];
      const time = step.cached ? "cached" : step.ended ? `${((to - from) / 1000).toFixed(1)} s` : "running";
      row.append(name);
      row.insertCell().textContent = time;
      row.insertCell().append(bar(step, (from - begin) / (end - begin), ((to || end) - from) / (end - begin)));
      row.cells[2].className = "bar";
    });
    place.replaceChildren(table);
  }
}

function bar(step, start, width) {
  const make = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);
  const svg = make("svg"), rect = make("rect");
  const kind = step.error ? "failed" : step.cached ? "cached" : step.ended ? "done" : "running";
  const attributes = { class: kind, x: Math.min(start * 100, 99.5), width: Math.max(width * 100, 0.5), height: 4 };
  for (const [name, value] of Object.entries(attributes)) rect.setAttribute(name, value);
  svg.setAttribute("viewBox", "0 0 100 4");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(rect);
  return svg;
}

const log = document.getElementById("log");
if (log && "EventSource" in window) new LogViewer(log);

"use strict";
// Elements are made once and changed in place, so that a page left open for weeks stays as small
// as it began. Whatever came from outside is inserted as text, never as markup.

const REFRESH_MS = 2000;
const REQUEST_MS = 5000;
const ROWS_MAX = 1000;
const FINDINGS_MAX = 100;
const RESOLVED_MAX = 20;
const HISTORY = 30;
const HISTORY_FETCHES = 4;
const WORST_FIRST = ["SILENT_FAILURE", "DOWN", "DEGRADED", "NO_DATA", "UNVERIFIED", "HEALTHY"];

const $ = (id) => document.getElementById(id);
const rows = new Map();
const histories = new Map();
const wanted = new Set();
let next = 0;
let fetching = 0;
let selected = "";
let components = [];

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setClass(node, name) {
  if (node.getAttribute("class") !== name) node.setAttribute("class", name);
}

const plain = (name) => name.replace(/^[A-Z]+_/, "").toLowerCase();
const words = (name) => plain(name).replaceAll("_", " ");
const time = (stamp) => (stamp ? new Date(stamp).toLocaleTimeString() : "never");

// Kept for this tab only, and shown to this monitor only.
const TOKEN = "monitor-token";

// Nobody is known by the token that was shown, or whoever is may not look.
class Refused extends Error {
  constructor(why, token, status) {
    super(why);
    this.token = token;
    this.status = status;
  }
}

function reason(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return text.trim();
  }
}

async function load(path) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const signal = AbortSignal.timeout(REQUEST_MS);
  const response = await fetch(path, { headers, signal, cache: "no-store" });
  if (response.ok) return response.json();
  const why = reason(await response.text()) || `${path} answered ${response.status}`;
  throw [401, 403].includes(response.status) ? new Refused(why, token, response.status) : new Error(why);
}

// ---- the door ----

// Nothing else is shown meanwhile: an empty page would look as if all were well.
function ask(refused) {
  // Said of another token than the one that is kept now.
  if (refused.token !== sessionStorage.getItem(TOKEN)) return;
  sessionStorage.removeItem(TOKEN);
  // That a token is wanting, the page says itself; that something else is, nobody else does.
  const why = refused.status === 401 ? "" : refused.message;
  setText($("door-why"), refused.token ? `This token does not open it: ${refused.message}.` : why);
  setText($("freshness"), "Closed");
  document.body.classList.add("closed");
  $("notice").hidden = true;
  $("token").focus();
}

function enter(event) {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $("token").value.trim());
  $("token").value = "";
  setText($("freshness"), "Loading…");
  document.body.classList.remove("closed");
  clearTimeout(next);
  loop();
}

function leave() {
  sessionStorage.removeItem(TOKEN);
  location.reload();
}

// ---- the summary ----

function tile(list, key, label, value) {
  let made = list.querySelector(`[data-key="${key}"]`);
  if (!made) {
    made = element("div", "tile");
    made.dataset.key = key;
    made.append(element("dt", "", label), element("dd"));
    list.append(made);
  }
  setText(made.lastChild, value);
}

function showSummary(summary) {
  const list = $("tiles");
  const at = (verdict) => String(summary.verdicts[`VERDICT_${verdict}`] || 0);
  tile(list, "components", "Components", String(summary.components));
  tile(list, "findings", "Open findings", String(summary.open_findings));
  tile(list, "score", "Mean score", summary.average_score === undefined ? "–" : summary.average_score.toFixed(0));
  for (const verdict of ["HEALTHY", "UNVERIFIED", "DEGRADED", "SILENT_FAILURE", "DOWN", "NO_DATA"]) {
    const label = verdict.replace("_", " ").toLowerCase();
    tile(list, verdict.toLowerCase(), label[0].toUpperCase() + label.slice(1), at(verdict));
  }
  tile(list, "lateness", "Own lateness", summary.local_lateness === undefined ? "–" : `${Math.round(parseFloat(summary.local_lateness) * 1000)} ms`);
  tile(list, "observers", "Observers", String(summary.observers));
  tile(list, "witnessed", "Events witnessed", summary.events_witnessed.toLocaleString());
}

// ---- the components ----

const inSight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const id = entry.target.dataset.id;
    if (entry.isIntersecting && !histories.has(id)) wanted.add(id);
    else wanted.delete(id);
  }
  fetchHistories();
}, { rootMargin: "200px" });

// A history is fetched once for each row that came into sight; after that the list's own scores
// go on with it.
function fetchHistories() {
  for (const id of wanted) {
    if (fetching >= HISTORY_FETCHES) return;
    wanted.delete(id);
    fetching += 1;
    load(`/api/v1/components/${encodeURIComponent(id)}/audits?brief=true&limit=${HISTORY}`)
      .then((answer) => {
        const points = answer.audits.reverse().map((audit) => ({ at: audit.audit_time, score: audit.overall_assessment.score }));
        histories.set(id, points);
        if (rows.has(id)) draw(rows.get(id), id);
      })
      .catch(() => {})
      .finally(() => { fetching -= 1; fetchHistories(); });
  }
}

function note(status) {
  const points = histories.get(status.component.component_id);
  if (!points || !status.last_audit_time) return;
  const last = points[points.length - 1];
  if (last && last.at >= status.last_audit_time) return;
  points.push({ at: status.last_audit_time, score: status.score });
  if (points.length > HISTORY) points.shift();
}

function draw(row, id) {
  const points = histories.get(id) || [];
  const step = 118 / Math.max(1, HISTORY - 1);
  const start = 119 - (points.length - 1) * step;
  const path = points.map((point, index) => `${index ? "L" : "M"}${(start + index * step).toFixed(1)} ${(24 - point.score * 0.22).toFixed(1)}`).join("");
  const drawn = points.length === 1 ? `${path}h-2` : path;
  if (row.path.getAttribute("d") !== drawn) row.path.setAttribute("d", drawn);
  const label = points.length ? `The last ${points.length} scores: from ${points[0].score.toFixed(0)} to ${points[points.length - 1].score.toFixed(0)}` : "No history yet";
  if (row.spark.getAttribute("aria-label") !== label) row.spark.setAttribute("aria-label", label);
}

function makeRow(id) {
  const tr = element("tr");
  tr.dataset.id = id;
  const cells = Array.from({ length: 8 }, () => element("td"));
  const verdict = element("span", "verdict");
  const button = element("button", "", id);
  button.type = "button";
  button.addEventListener("click", () => select(id));
  const labels = element("span", "labels");
  const svg = "http://www.w3.org/2000/svg";
  const spark = document.createElementNS(svg, "svg");
  spark.setAttribute("class", "spark");
  spark.setAttribute("viewBox", "0 0 120 26");
  spark.setAttribute("role", "img");
  const path = document.createElementNS(svg, "path");
  spark.append(path);
  cells[0].append(verdict);
  const maintenance = element("span", "maintenance");
  cells[1].append(button, labels, maintenance);
  cells[3].append(spark);
  cells[2].className = cells[4].className = "number";
  cells[7].className = "endpoint";
  tr.append(...cells);
  inSight.observe(tr);
  return { tr, cells, verdict, labels, maintenance, spark, path };
}

function updateRow(row, status) {
  const { component } = status;
  setText(row.verdict, words(status.verdict));
  setClass(row.verdict, `verdict v-${plain(status.verdict)}`);
  setText(row.labels, Object.entries(component.labels).map(([key, value]) => `${key}=${value}`).join(" "));
  setText(row.maintenance, status.maintenance_end_time ? `in maintenance until ${time(status.maintenance_end_time)}` : "");
  setText(row.cells[2], status.last_audit_time ? status.score.toFixed(0) : "–");
  setText(row.cells[4], String(status.open_findings));
  setText(row.cells[5], status.watching ? "up" : "down");
  setText(row.cells[6], time(status.last_audit_time));
  setText(row.cells[7], component.endpoint);
  row.cells[7].title = component.endpoint;
  draw(row, component.component_id);
}

function rank(status) {
  const place = WORST_FIRST.indexOf(status.verdict.replace("VERDICT_", ""));
  return place < 0 ? WORST_FIRST.length : place;
}

function matches(status, text, verdict) {
  if (verdict && status.verdict !== verdict) return false;
  if (!text) return true;
  const { component_id, endpoint, labels } = status.component;
  return `${component_id} ${endpoint} ${JSON.stringify(labels)}`.toLowerCase().includes(text);
}

function showComponents() {
  const text = $("filter").value.trim().toLowerCase();
  const verdict = $("verdict").value;
  const found = components.filter((status) => matches(status, text, verdict));
  found.sort((left, right) => rank(left) - rank(right) || (left.component.component_id < right.component.component_id ? -1 : 1));
  const shown = found.slice(0, ROWS_MAX);
  const body = $("components");
  const keep = new Set(shown.map((status) => status.component.component_id));
  for (const [id, row] of rows) {
    if (keep.has(id)) continue;
    inSight.unobserve(row.tr);
    row.tr.remove();
    rows.delete(id);
    wanted.delete(id);
  }
  shown.forEach((status, index) => {
    const id = status.component.component_id;
    if (!rows.has(id)) rows.set(id, makeRow(id));
    const row = rows.get(id);
    updateRow(row, status);
    if (body.children[index] !== row.tr) body.insertBefore(row.tr, body.children[index] || null);
  });
  const empty = $("components-empty");
  empty.hidden = found.length > 0;
  setText(empty, components.length ? "None matches." : "None is registered. Try: monitor-service register ID http://HOST:PORT");
  const more = $("components-more");
  more.hidden = found.length <= ROWS_MAX;
  setText(more, `${found.length - shown.length} more; filter to see them.`);
}

// ---- the findings ----

function makeFinding() {
  const item = element("li", "finding");
  const head = element("p", "head");
  const rule = element("strong");
  const where = element("span");
  const when = element("span");
  const special = element("span");
  head.append(rule, where, when, special);
  const message = element("p");
  const details = element("details");
  const summary = element("summary");
  const evidence = element("ul");
  details.append(summary, evidence);
  item.append(head, message, details);
  return { item, rule, where, when, special, message, summary, evidence };
}

function updateFinding(shown, finding) {
  const open = finding.state === "STATE_OPEN";
  setClass(shown.item, `finding ${plain(finding.severity)}${open ? "" : " closed"}`);
  setText(shown.rule, `${finding.rule_id} · ${words(finding.severity)}`);
  setText(shown.where, finding.subject ? `${finding.component_id} · ${finding.subject}` : finding.component_id);
  setText(shown.when, open ? `since ${time(finding.open_time)}` : `${time(finding.open_time)} to ${time(finding.resolve_time)}`);
  const back = finding.reopened === 1 ? "came back once" : `came back ${finding.reopened} times`;
  setText(shown.special, [finding.reopened ? back : "", finding.in_maintenance ? "in maintenance" : ""].filter(Boolean).join(", "));
  setText(shown.message, finding.message);
  setText(shown.summary, `Evidence (${finding.evidence.length})`);
  finding.evidence.forEach((piece, index) => {
    const claimed = piece.claimed ? `claimed ${piece.claimed}; ` : "";
    const text = `${time(piece.observe_time)} ${piece.source}: ${claimed}observed ${piece.observed}`;
    if (!shown.evidence.children[index]) shown.evidence.append(element("li"));
    setText(shown.evidence.children[index], text);
  });
  while (shown.evidence.children.length > finding.evidence.length) shown.evidence.lastChild.remove();
}

function findingsList(listId, emptyId) {
  const known = new Map();
  return (findings) => {
    const list = $(listId);
    const keep = new Set(findings.map((finding) => finding.finding_id));
    for (const [id, shown] of known) {
      if (keep.has(id)) continue;
      shown.item.remove();
      known.delete(id);
    }
    findings.forEach((finding, index) => {
      if (!known.has(finding.finding_id)) known.set(finding.finding_id, makeFinding());
      const shown = known.get(finding.finding_id);
      updateFinding(shown, finding);
      if (list.children[index] !== shown.item) list.insertBefore(shown.item, list.children[index] || null);
    });
    $(emptyId).hidden = findings.length > 0;
  };
}

// What the monitor found about itself comes first: it says how far the rest can be believed.
const ABOUT_ITSELF = ["observer_blind", "alert_path_dead"];

function showOwn(findings) {
  const own = findings.filter((finding) => ABOUT_ITSELF.includes(finding.rule_id));
  $("blind").hidden = own.length === 0;
  setText($("blind"), own.map((finding) => finding.message).join(" "));
}

const showOpen = findingsList("findings", "findings-empty");
const showResolved = findingsList("resolved", "resolved-empty");

// ---- one component ----

async function select(id) {
  selected = id;
  $("detail").hidden = false;
  setText($("detail-title"), id);
  $("detail-message").textContent = "Loading…";
  $("detail-facts").replaceChildren();
  $("detail-title").focus();
  await showDetail().catch((error) => setText($("detail-message"), error.message));
}

function facts(audit) {
  const found = [];
  const health = audit.internal_health || {};
  const claim = health.health;
  if (health.error) found.push(["Health call", health.error]);
  if (claim) {
    found.push(["Claims", `${words(claim.state)}, healthy: ${claim.healthy}, sequence ${claim.sequence}, instance ${claim.instance_id}`]);
    if (claim.error_message) found.push(["Says", claim.error_message]);
    for (const check of claim.checks) found.push([`Check ${check.name}`, `${check.healthy ? "passes" : "fails"}${check.message ? `: ${check.message}` : ""}`]);
    found.push(["Answer", `in ${health.latency}, nonce ${health.nonce_echoed ? "echoed" : "not echoed"}`]);
  }
  const metrics = audit.internal_metrics || {};
  if (metrics.error) found.push(["Metrics call", metrics.error]);
  const delivery = metrics.metrics && metrics.metrics.delivery;
  if (delivery) found.push(["Ledger", `accepted ${delivery.events_accepted}, delivered ${delivery.events_delivered}, expired ${delivery.events_expired}, pending ${delivery.events_pending}, remainder ${metrics.ledger_remainder}`]);
  const validation = audit.event_monitor_validation;
  if (validation) {
    found.push(["Witnesses", `${validation.producers} producers, ${validation.consumers} consumers; ${validation.produced} produced, ${validation.consumed} consumed, ${validation.unseen} unseen`]);
    found.push([words(validation.agreement), validation.message]);
  }
  const canary = audit.canary;
  if (canary) {
    const last = canary.last_success_time ? `last whole at ${time(canary.last_success_time)} in ${canary.last_delay}, median ${canary.delay_median}` : "none came back whole";
    found.push(["Synthetic runs", `${canary.succeeded} whole, ${canary.failed} failed; ${last}`]);
    if (canary.error) found.push(["Newest synthetic run", canary.error]);
  }
  for (const [part, score] of Object.entries(audit.overall_assessment.component_scores)) found.push([`Score of ${part}`, score.toFixed(0)]);
  return found;
}

async function showDetail() {
  const id = selected;
  if (!id) return;
  const answer = await load(`/api/v1/components/${encodeURIComponent(id)}/audits?limit=1`);
  if (id !== selected) return;
  const [audit] = answer.audits;
  if (!audit) return setText($("detail-message"), "No audit was made yet.");
  const { verdict, message } = audit.overall_assessment;
  setText($("detail-message"), `${words(verdict)}: ${message}`);
  const list = $("detail-facts");
  const shown = facts(audit);
  shown.forEach(([name, value], index) => {
    if (!list.children[index * 2]) list.append(element("dt"), element("dd"));
    setText(list.children[index * 2], name);
    setText(list.children[index * 2 + 1], value);
  });
  while (list.children.length > shown.length * 2) list.lastChild.remove();
}

// ---- the loop ----

async function refresh() {
  const [summary, listed, open, resolved] = await Promise.all([
    load("/api/v1/summary"),
    load("/api/v1/components"),
    load(`/api/v1/findings?state=open&limit=${FINDINGS_MAX}`),
    load(`/api/v1/findings?state=resolved&limit=${RESOLVED_MAX}`),
  ]);
  showSummary(summary);
  components = listed.components;
  const known = new Set(components.map((status) => status.component.component_id));
  for (const id of histories.keys()) if (!known.has(id)) histories.delete(id);
  components.forEach(note);
  showComponents();
  showOpen(open.findings);
  showOwn(open.findings);
  showResolved(resolved.findings);
  const more = $("findings-more");
  more.hidden = summary.open_findings <= open.findings.length;
  setText(more, `${summary.open_findings - open.findings.length} more are open.`);
  if (selected && known.has(selected)) await showDetail();
  document.title = summary.open_findings ? `(${summary.open_findings}) Monitor` : "Monitor";
}

async function step() {
  try {
    await refresh();
    $("notice").hidden = true;
    $("leave").hidden = !sessionStorage.getItem(TOKEN);
    setText($("freshness"), `As of ${new Date().toLocaleTimeString()}`);
  } catch (error) {
    if (error instanceof Refused) return ask(error);
    // What is shown is old now, and must not look current.
    $("notice").hidden = false;
    setText($("notice"), `The monitor does not answer; what you see is old. (${error.message})`);
  }
}

// One step at a time: while the door is closed there is none, and whoever enters only brings the
// next one forward.
async function loop() {
  if (!document.hidden && !document.body.classList.contains("closed")) await step();
  next = setTimeout(loop, REFRESH_MS);
}

$("door").addEventListener("submit", enter);
$("leave").addEventListener("click", leave);
$("filter").addEventListener("input", showComponents);
$("verdict").addEventListener("change", showComponents);
$("detail-close").addEventListener("click", () => { selected = ""; $("detail").hidden = true; });
loop();

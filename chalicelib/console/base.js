// Elements, morphing, requests, words. Everything on the page is built here from texts: there is no
// innerHTML, and the Content-Security-Policy forbids it.
const root = document.documentElement;
const main = document.getElementById("main");
// Deployed, the page lies at /api or /api/, and both have to work.
const base = location.pathname.replace(/\/?$/, "/");

// h("p.soft.small", { id: "x" }, "text", [more], unless && null): an element of a tag and classes.
function make(node, classes, parts) {
  const props = parts[0]?.constructor === Object ? parts.shift() : {};
  if (classes.length) props.class = classes.join(" ");
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "style") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...parts.flat(9).filter((part) => part !== null && part !== undefined && part !== false));
  return node;
}
function h(tag, ...parts) {
  const [name, ...classes] = tag.split(".");
  return make(document.createElement(name), classes, parts);
}
const s = (tag, ...parts) => make(document.createElementNS("http://www.w3.org/2000/svg", tag), [], parts);

const SHAPES = {
  photo: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  upload: "M12 16V4m0 0L7 9m5-5 5 5M4 17v3h16v-3",
  broken: "M4 5h16v6l-4 3-4-3-4 4-4-2zM4 16v3h16v-4",
  parcel: "M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4M12 12v8",
};
const icon = (name) => s("svg", { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": 1.6, "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true" }, s("path", { d: SHAPES[name] }));
const button = (text, act, data = {}, look = "") =>
  h("button", { type: "button", class: look, "data-act": act, ...Object.fromEntries(Object.entries(data).map(([k, v]) => [k === "label" ? "aria-label" : `data-${k}`, v])) }, text);

// Make a shown element like a new one and keep what a person is using: focus, a slider, a form. A
// link that was signed anew is the same picture.
const unsigned = (url) => url?.split("?")[0];
function morph(from, to) {
  if (from.nodeName !== to.nodeName || from.dataset?.key !== to.dataset?.key) return from.replaceWith(to);
  if (from.nodeType === Node.TEXT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return undefined;
  }
  for (const { name } of [...from.attributes]) if (name !== "style" && !to.hasAttribute(name)) from.removeAttribute(name);
  for (const { name, value } of to.attributes) {
    const old = from.getAttribute(name);
    if (old === value || (name === "src" && unsigned(old) === unsigned(value) && !old.startsWith("blob:"))) continue;
    // As an attribute a style would be against the policy.
    if (name === "style") from.style.cssText = value;
    else from.setAttribute(name, value);
  }
  const news = [...to.childNodes];
  const keyed = new Map([...from.childNodes].filter((node) => node.dataset?.key).map((node) => [node.dataset.key, node]));
  news.forEach((node, place) => {
    const known = keyed.get(node.dataset?.key);
    if (known && from.childNodes[place] !== known) from.insertBefore(known, from.childNodes[place] ?? null);
    const old = from.childNodes[place];
    if (old) morph(old, node);
    else from.append(node);
  });
  while (from.childNodes.length > news.length) from.lastChild.remove();
  return undefined;
}

class Refusal extends Error {
  constructor(status, body, after) {
    super(body.error ?? `The service answered ${status}.`);
    Object.assign(this, { status, code: body.code ?? "unknown", errors: body.errors ?? [], after: Number(after) || 0 });
  }
}
async function call(method, path, { json, headers = {}, signal, also = [] } = {}) {
  const body = json === undefined ? undefined : JSON.stringify(json);
  let answer;
  try {
    answer = await fetch(base + path, { method, body, signal, headers: { ...(body && { "Content-Type": "application/json" }), ...headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, { error: "The service does not answer. Check the connection, then try again.", code: "no_connection" });
  }
  const data = answer.status === 204 ? null : await answer.json().catch(() => ({}));
  if (!answer.ok && !also.includes(answer.status)) throw new Refusal(answer.status, data, answer.headers.get("Retry-After"));
  return data;
}
// Not randomUUID: that is missing where a page comes over plain HTTP.
const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

const number = new Intl.NumberFormat("en");
function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(bytes < 1e4 ? 1 : 0)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
const span = (ms) => (ms < 1000 ? `${ms} ms` : ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : ms < 36e5 ? `${Math.round(ms / 6e4)} min` : `${(ms / 36e5).toFixed(1)} h`);
const share = (part) => `${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %`;
const moment = (ms) => h("time", { datetime: new Date(ms).toISOString() }, new Date(ms).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }));
const words = (name) => name.replaceAll("_", " ");
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const FAILED = ["preprocessing_failed", "inference_failed"];
const TONES = { completed: "good", delivered: "good", ok: "good", failing: "bad", degraded: "bad", failed: "bad", preprocessing_failed: "bad", inference_failed: "bad", expired: "", skipped: "", pending_upload: "" };
const pill = (status) => h("span", { class: `pill ${TONES[status] ?? "busy"}` }, capital(words(status)));
const nameOf = (image) => image.original?.filename ?? `Image ${image.image_id.slice(0, 8)}`;
const retryable = (image) => FAILED.includes(image.status) || (image.status === "completed" && image.conversion_status === "failed");
const settled = (image) => FAILED[0] === image.status || image.status === "expired" || (["completed", FAILED[1]].includes(image.status) && image.conversion_status !== "pending");
const reason = (failure) => h("p.why", failure.message, " ", h("code", failure.code));

function thumb(image) {
  const url = image.renditions?.thumb?.url;
  return h("span.thumb", url ? h("img", { src: url, alt: "", loading: "lazy" }) : icon(FAILED.includes(image.status) ? "broken" : "photo"));
}
function note(text, { tone = "", act } = {}) {
  return h("div", { class: `note ${tone}`, role: tone ? "alert" : "note" }, h("p", text), act && h("span.push", act));
}
const empty = (picture, title, text) => h("div.empty", icon(picture), h("h3", title), h("p", text));

const card = (id, title, ...parts) => h("section.card", { "aria-labelledby": id, "data-key": id }, h("h2", { id }, title), ...parts);
const out = (url, text) => h("a", { href: url, target: "_blank", rel: "noopener" }, text);

const say = (text) => { document.getElementById("said").textContent = text; };
let toastTimer;
function toast(text) {
  const place = document.getElementById("toast");
  place.textContent = text;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { place.textContent = ""; }, 6000);
}
function ask(title, text) {
  const dialog = document.getElementById("ask");
  for (const [id, value] of [["title", title], ["text", text]]) document.getElementById(`ask-${id}`).textContent = value;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

// --- Waiting -----------------------------------------------------------------------------------
const pause = (ms, signal) => new Promise((done) => {
  const timer = setTimeout(done, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
});
const seen = () => document.hidden && new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));

// Ask again and again: soon after a change, ever more rarely without one, and never in a hidden tab.
// `look` says whether something changed, or "done".
async function poll(look, signal, { first = 600, most = 10000 } = {}) {
  let wait = first;
  while (!signal.aborted) {
    let after = 0;
    try {
      const what = await look();
      if (what === "done") return;
      wait = what ? first : Math.min(most, wait * 1.5);
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 404) throw error;
      if (!main.querySelector("[role=alert]")) toast(error.message);
      wait = Math.min(most, wait * 2);
      after = (error.after ?? 0) * 1000;
    }
    await pause(Math.max(wait, after) * (0.85 + Math.random() * 0.3), signal);
    await seen();
  }
}
async function follow(id, show, signal) {
  let last = "";
  await poll(async () => {
    const image = await call("GET", `images/${id}`, { signal });
    const now = `${image.status} ${image.conversion_status} ${image.attempts}`;
    const changed = now !== last;
    last = now;
    show(image);
    return settled(image) ? "done" : changed;
  }, signal);
}

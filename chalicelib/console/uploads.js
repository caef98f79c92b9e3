// Photos on their way: a few at a time, each straight to the bucket, then followed to its end. They
// go on while other views are looked at.
const AT_ONCE = 3;
const uploads = [];
let uploadsChanged = () => {};
let drawn = false;
function changed() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(() => { drawn = false; uploadsChanged(); });
}

function add(files) {
  for (const file of files) {
    const shown = /^image\/(jpeg|png|gif|webp|bmp|avif)$/.test(file.type);
    uploads.unshift({ key: newKey(), file, preview: shown ? URL.createObjectURL(file) : null, state: "waiting", sent: 0 });
  }
  if (files.length) say(`${files.length} ${files.length === 1 ? "photo was" : "photos were"} added.`);
  changed();
  next();
}
function next() {
  let free = AT_ONCE - uploads.filter((job) => job.state === "sending").length;
  for (const job of uploads.filter((one) => one.state === "waiting").reverse()) {
    if (free-- <= 0) return;
    send(job);
  }
}
async function send(job) {
  Object.assign(job, { state: "sending", sent: 0, error: null, image: null, stop: new AbortController() });
  changed();
  try {
    const type = job.file.type.startsWith("image/") ? { content_type: job.file.type } : {};
    const made = await call("POST", "images", { json: { filename: job.file.name.slice(-255), ...type }, headers: { "Idempotency-Key": job.key }, signal: job.stop.signal });
    job.id = made.image_id;
    await put(made.upload, job);
    job.state = "following";
    changed();
    watch(job);
  } catch (error) {
    if (job.state === "gone") return;
    Object.assign(job, { state: "failed", error: { message: error.message, code: error.code ?? "upload_failed" } });
    say(`${job.file.name}: ${error.message}`);
    changed();
  } finally {
    next();
  }
}
// Not fetch: it cannot tell how much was sent.
function put(form, job) {
  return new Promise((done, failed) => {
    const data = new FormData();
    for (const [name, value] of Object.entries(form.fields)) data.append(name, value);
    data.append("file", job.file);
    const request = new XMLHttpRequest();
    request.upload.onprogress = (event) => { job.sent = event.total ? event.loaded / event.total : 0; changed(); };
    request.onload = () => {
      if (request.status < 300) return done();
      const code = /<Code>(\w+)<\/Code>/.exec(request.responseText)?.[1];
      const why = code === "EntityTooLarge" ? `The file has ${size(job.file.size)}, more than is taken.` : code === "AccessDenied" ? "The bucket refused the file: the link ran out, or the type is not an image's." : `The bucket refused the file (${code ?? request.status}).`;
      return failed(new Refusal(request.status, { error: why, code: code ? code.replace(/(?<=[a-z])[A-Z]/g, "_$&").toLowerCase() : "upload_failed" }));
    };
    request.onerror = () => failed(new Refusal(0, { error: "The upload broke off. Check the connection, then try again.", code: "no_connection" }));
    request.onabort = () => failed(new Refusal(0, { error: "The upload was stopped.", code: "stopped" }));
    job.stop.signal.addEventListener("abort", () => request.abort());
    request.open("POST", form.url);
    request.send(data);
  });
}
async function watch(job) {
  try {
    await follow(job.id, (image) => { job.image = image; changed(); }, job.stop.signal);
    if (!job.image || job.state === "gone") return;
    job.state = "done";
    const { status, top_prediction: seenIn } = job.image;
    say(`${job.file.name}: ${status === "completed" ? `completed${seenIn ? `, ${seenIn}` : ""}` : (job.image.error?.message ?? words(status))}`);
  } catch {
    if (uploads.includes(job)) forget(job);
  }
  changed();
  listChanged();
}

const STEPS = [["Upload", 0], ["Prepare", 2], ["Predict", 4], ["Copies", 5]];
const RANK = { pending_upload: 0, queued: 1, preprocessing: 2, preprocessed: 3, inferencing: 4, completed: 5 };
function steps(image, uploading) {
  const { status, conversion_status: copies } = image ?? { status: "pending_upload", conversion_status: "pending" };
  const rank = RANK[status] ?? (status === "inference_failed" ? 4 : status === "preprocessing_failed" ? 2 : 0);
  const look = {
    Upload: rank > 0 ? "done" : status === "expired" ? "wrong" : uploading ? "now" : "",
    Prepare: status === "preprocessing_failed" ? "wrong" : rank > 2 ? "done" : rank > 0 ? "now" : "",
    Predict: status === "inference_failed" ? "wrong" : rank > 4 ? "done" : rank > 2 ? "now" : "",
    Copies: { completed: "done", failed: "wrong", skipped: "done" }[copies] ?? (rank > 2 ? "now" : ""),
  };
  const told = { done: "done", now: "under way", wrong: "failed", "": "to come" };
  return h("ol.steps", { "aria-label": "Steps" }, STEPS.map(([name]) => h("li", { class: look[name] && `is-${look[name]}` }, name, h("span.hidden", `: ${told[look[name]]}`))));
}

function uploadLine(job) {
  const { image } = job;
  const what = job.state === "failed" ? h("span.pill.bad", "Not uploaded")
    : image ? pill(image.status)
      : h("span", { class: `pill ${job.state === "waiting" ? "" : "busy"}` }, job.state === "waiting" ? "Waiting" : job.sent < 1 ? `Uploading ${share(job.sent)}` : "Uploaded");
  const name = job.id && job.state !== "failed" ? h("a.name", { href: `#/images/${job.id}` }, job.file.name) : h("span.name", job.file.name);
  const failure = job.error ?? image?.error ?? image?.conversion_error;
  return h("li.line", { "data-key": job.key, "data-upload": job.file.name },
    h("span.thumb", job.preview ? h("img", { src: job.preview, alt: "" }) : icon("photo")),
    h("div", name,
      h("div.row.small", what,
        h("span.soft.num", size(job.file.size)),
        image?.top_prediction && h("span", image.top_prediction, " ", h("span.soft.num", share(image.confidence)))),
      job.state === "sending" || job.state === "waiting"
        ? h("progress", { max: 100, value: Math.round(job.sent * 100), "aria-label": `Upload of ${job.file.name}` })
        : job.state !== "failed" && steps(image, true),
      failure && reason(failure)),
    h("div.row.acts",
      (job.state === "failed" || (image && job.state === "done" && retryable(image))) && button("Retry", "retry-upload", { key: job.key, label: `Retry ${job.file.name}` }),
      button(job.state === "sending" || job.state === "waiting" ? "Cancel" : "Delete", "drop-upload", { key: job.key, label: `Delete ${job.file.name}` }, "bare")));
}
function uploadPanel() {
  if (!uploads.length) return h("section", { id: "uploads", hidden: true });
  const open = uploads.filter((job) => ["waiting", "sending", "following"].includes(job.state)).length;
  return h("section", { id: "uploads", class: "card", "aria-labelledby": "uploads-title" },
    h("div.row", h("h2", { id: "uploads-title" }, "Sent from here"),
      h("span.soft.small", open ? `${open} of ${uploads.length} under way` : `${uploads.length} finished`),
      !open && h("span.push", button("Clear", "clear-uploads", {}, "bare"))),
    h("ol.lines", uploads.map(uploadLine)));
}

const jobOf = (key) => uploads.find((job) => job.key === key);
function forget(job) {
  job.state = "gone";
  job.stop?.abort();
  if (job.preview) URL.revokeObjectURL(job.preview);
  uploads.splice(uploads.indexOf(job), 1);
  changed();
}
const uploadActs = {
  "retry-upload": async ({ key }) => {
    const job = jobOf(key);
    if (job.state === "failed") {
      // A new request: the links of the first may have run out.
      job.key = newKey();
      job.state = "waiting";
      changed();
      return next();
    }
    await call("POST", `images/${job.id}/retry`);
    Object.assign(job, { state: "following", stop: new AbortController() });
    say(`${job.file.name}: trying again.`);
    changed();
    return watch(job);
  },
  "drop-upload": async ({ key }) => {
    const job = jobOf(key);
    if (["waiting", "sending", "failed"].includes(job.state)) {
      forget(job);
      if (job.id) await call("DELETE", `images/${job.id}`, { also: [404] });
      next();
    } else if (!await removed(job.id, job.file.name)) return;
    listChanged();
  },
  "clear-uploads": () => {
    // Their previews stay: the comparison shows them.
    uploads.splice(0);
    changed();
  },
};
addEventListener("beforeunload", (event) => {
  if (uploads.some((job) => ["waiting", "sending"].includes(job.state))) event.preventDefault();
});

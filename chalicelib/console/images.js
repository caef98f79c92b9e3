// The list of images.
const STATUSES = ["pending_upload", "queued", "preprocessing", "preprocessed", "inferencing", "completed", "preprocessing_failed", "inference_failed", "expired"];
let listChanged = () => {};

// Delete an image if it is really meant, with what is shown of its upload.
async function removed(id, name) {
  if (!await ask(`Delete ${name}?`, "The record, the original and everything that was made from it are removed for good.")) return false;
  await call("DELETE", `images/${id}`, { also: [404] });
  const job = uploads.find((one) => one.id === id);
  if (job) forget(job);
  toast(`${name} was deleted.`);
  return true;
}

function imageLine(image) {
  const name = nameOf(image);
  return h("li.line", { "data-key": image.image_id, "data-image": image.image_id },
    thumb(image),
    h("div",
      h("a.name", { href: `#/images/${image.image_id}` }, name),
      h("div.row.small", pill(image.status),
        image.conversion_status === "failed" && image.status === "completed" && h("span.pill.bad", "No copies"),
        image.top_prediction && h("span", image.top_prediction, " ", h("span.soft.num", share(image.confidence))),
        h("span.soft", moment(image.created_at * 1000)),
        image.original?.bytes && h("span.soft.num", size(image.original.bytes))),
      image.error && reason(image.error)),
    h("div.row.acts",
      retryable(image) && button("Retry", "retry-image", { id: image.image_id, label: `Retry ${name}` }),
      button("Delete", "delete-image", { id: image.image_id, name, label: `Delete ${name}` }, "bare")));
}

function imagesView(params, signal) {
  const status = STATUSES.includes(params.get("status")) ? params.get("status") : "";
  const past = [];
  let cursor = params.get("cursor");
  let page = null;
  let failure = null;
  let wake = new AbortController();

  const list = h("section.card", { "aria-labelledby": "list-title" });
  main.replaceChildren(h("div.stack",
    h("h1", { tabindex: -1 }, "Images"),
    h("label.drop", icon("upload"),
      h("strong", "Drop photos here, or ", h("u", "choose them")),
      h("span.soft.small", "JPEG, PNG, GIF, WebP, BMP or TIFF. They go straight to the bucket."),
      h("input", { type: "file", multiple: true, accept: "image/*", id: "files", "aria-label": "Choose photos" })),
    uploadPanel(), list));

  const show = () => {
    const items = page?.items ?? [];
    morph(list, h("section.card", { "aria-labelledby": "list-title", "aria-busy": page ? "false" : "true" },
      h("div.row", h("h2", { id: "list-title" }, "All images"),
        h("div.push.row", h("label", { for: "status", class: "hidden" }, "Status"),
          h("select", { id: "status", "data-change": "filter" }, h("option", { value: "", selected: !status }, "Every status"), STATUSES.map((one) => h("option", { value: one, selected: one === status }, capital(words(one))))))),
      failure ? note(failure.message, { tone: "bad", act: button("Try again", "reload") })
        : !page ? h("p.soft", "Loading …")
          : items.length ? h("ol.lines", items.map(imageLine))
            : empty("photo", status ? `No image is ${words(status)}` : "No images yet", status ? "Choose another status to see more." : "The first photo that you drop above appears here."),
      (past.length > 0 || page?.next_cursor) && h("nav.row", { "aria-label": "Pages" },
        h("span.push"), past.length > 0 && button("Newer", "newer"), page?.next_cursor && button("Older", "older"))));
  };
  const query = () => new URLSearchParams({ limit: 20, ...(status && { status }), ...(cursor && { cursor }) });
  const load = async () => {
    const before = JSON.stringify(page?.items.map((image) => [image.image_id, image.status, image.conversion_status]));
    try {
      page = await call("GET", `images?${query()}`, { signal });
      failure = null;
    } catch (error) {
      if (signal.aborted) return "done";
      failure = error;
      show();
      throw error;
    }
    show();
    // A page of settled images changes when something is sent: then it is woken.
    if (page.items.every(settled)) return "done";
    return before !== JSON.stringify(page.items.map((image) => [image.image_id, image.status, image.conversion_status]));
  };
  const run = () => {
    wake.abort();
    wake = new AbortController();
    signal.addEventListener("abort", () => wake.abort(), { once: true });
    poll(load, wake.signal, { first: 1500, most: 15000 }).catch(() => {});
  };
  uploadsChanged = () => morph(document.getElementById("uploads"), uploadPanel());
  listChanged = run;
  signal.addEventListener("abort", () => { uploadsChanged = () => {}; listChanged = () => {}; });
  const turn = () => { page = null; run(); document.getElementById("list-title")?.scrollIntoView({ block: "start" }); };
  show();
  run();
  return {
    title: "Images",
    acts: {
      filter: (_, select) => { location.hash = select.value ? `#/?status=${select.value}` : "#/"; },
      older: () => { past.push(cursor); cursor = page.next_cursor; turn(); },
      newer: () => { cursor = past.pop(); turn(); },
      reload: run,
      "retry-image": async ({ id }) => { await call("POST", `images/${id}/retry`); toast("It is on its way again."); run(); },
      "delete-image": async ({ id, name }) => {
        if (await removed(id, name)) run();
      },
    },
  };
}

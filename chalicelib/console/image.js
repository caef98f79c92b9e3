// One image: what was seen, what was made, how long it took.
const KINDS = { webp: "WebP", jpeg: "JPEG", png: "PNG", avif: "AVIF" };
const STEP_NAMES = { queued: "Waiting in the queue", preprocessing: "Preparation", inferencing: "Prediction", conversion: "Copies at full size" };
const previews = new Map();
function saved(copy) {
  const part = Math.round(copy.bytes_saved / (copy.bytes + copy.bytes_saved) * 100);
  return Number.isFinite(part) ? `${part > 0 ? "−" : part < 0 ? "+" : ""}${Math.abs(part)} %` : "";
}

function predictions(image) {
  if (!image.results) return null;
  const { classes, probabilities } = image.results;
  return card("seen", "What is seen",
    h("ol.bars", classes.map((name, place) => h("li",
      h("div.row", h("b", name), h("span.num", share(probabilities[place]))),
      h("div.track.lead", h("i", { style: { width: share(probabilities[place]).replace(" ", "") } }))))),
    h("p.soft.small", `${image.model.name} ${image.model.version}`, image.results_url && [" · ", out(image.results_url, "Result document")]));
}

function timings(image) {
  const known = Object.entries(image.timings_ms ?? {});
  if (!known.length) return null;
  const longest = Math.max(...known.map(([, ms]) => ms), 1);
  return card("times", "How long it took",
    h("ol.bars", known.map(([name, ms]) => h("li",
      h("div.row", h("b", STEP_NAMES[name] ?? capital(words(name))), h("span.num", span(ms))),
      h("div.track", h("i", { style: { width: `${(ms / longest * 100).toFixed(1)}%` } }))))));
}

function original(image) {
  const file = image.original ?? {};
  const rows = [
    ["Name", file.filename], ["Type", file.content_type], ["Size", file.bytes && size(file.bytes)],
    ["Pixels", file.width && `${number.format(file.width)} × ${number.format(file.height)}`],
    ["Kind", file.kind], ["Mode", file.mode], ["Colour profile", file.color_profile], ["Frames", file.frames],
    ["SHA-256", file.sha256 && h("code", file.sha256)], ["Added", moment(image.created_at * 1000)], ["Attempts", image.attempts],
    ["Id", h("code", image.image_id)], ...Object.entries(image.metadata ?? {}),
  ];
  return card("came", "What came in",
    h("dl.facts", rows.filter(([, value]) => value).map(([name, value]) => [h("dt", name), h("dd", value)])));
}

// The original itself is not served: it may hold a place or a name. The file that was sent from here is
// at hand; else the copy that keeps every pixel stands for it.
function comparison(image, state) {
  const copies = Object.entries(image.formats ?? {});
  if (!copies.length) {
    if (image.conversion_status === "pending" && image.status === "completed") return card("both", "Original and copies", h("p.soft", "The copies at full size are being made …"));
    return image.conversion_error ? card("both", "Original and copies", reason(image.conversion_error)) : null;
  }
  const chosen = image.formats[state.format] ? state.format : copies[0][0];
  const copy = image.formats[chosen];
  const exact = copies.map(([, one]) => one).find((one) => one.quality === undefined);
  const own = previews.get(image.image_id);
  const left = own ?? exact?.url;
  const table = h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Table of copies" }, h("table",
    h("thead", h("tr", ["Copy", "Size", "Saved", "Quality", "Made in", "Made by"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", copies.map(([name, one]) => h("tr",
      h("td", out(one.url, KINDS[name] ?? name)),
      h("td.num", size(one.bytes)), h("td.num", saved(one)), h("td.num", one.quality ?? "exact"),
      h("td.num", one.encoding_ms === undefined ? "" : span(one.encoding_ms)), h("td.soft", one.encoder ?? ""))))));
  return h("section.card.stack", { "aria-labelledby": "both", "data-key": "both" },
    h("div.row", h("h2", { id: "both" }, "Original and copies"),
      h("label.push.row.small", h("input", { type: "checkbox", "data-change": "actual" }), "Actual pixels")),
    h("fieldset", h("legend.hidden", "Copy to compare"), h("div.choice", copies.map(([name, one]) => h("label",
      h("input", { type: "radio", name: "format", value: name, checked: name === chosen, "data-change": "format" }), KINDS[name] ?? name,
      h("span.soft.small.num", `${size(one.bytes)} ${saved(one)}`))))),
    left ? h("div.frame", { tabindex: -1 }, h("div.compare", { style: { "aspect-ratio": `${copy.width} / ${copy.height}`, "--pixels": `${copy.width}px` } },
      h("img", { src: left, alt: "The original", "data-own": own ? "yes" : null }), h("img", { src: copy.url, alt: `The ${KINDS[chosen] ?? chosen} copy`, class: "copy" }), h("i"),
      h("span.left", "Original ", image.original?.bytes && size(image.original.bytes)), h("span.right", `${KINDS[chosen] ?? chosen} ${size(copy.bytes)} ${saved(copy)}`),
      h("input", { type: "range", min: 0, max: 100, value: 50, "data-input": "cut", "aria-label": "How much of the original is shown, in percent" })))
      : h("p.soft", "There is no copy here that keeps every pixel, so nothing stands for the original."),
    left && !own && h("p.soft.small", "Originals are not served, because they may tell a place or a name. On the left are their pixels, from the copy that keeps every one."),
    table);
}

function imageView(id, signal) {
  const state = { format: "webp", image: null };
  main.replaceChildren(h("div.stack", h("h1", { tabindex: -1 }, "Image"), h("p.soft", "Loading …")));
  const show = (image) => {
    state.image = image;
    const job = uploads.find((one) => one.id === id);
    if (job?.preview) previews.set(id, job.preview);
    const { standard } = image.renditions ?? {};
    document.title = `${nameOf(image)} · Darkroom`;
    morph(main.firstChild, h("div.stack",
      h("p.small", h("a", { href: "#/" }, "All images")),
      h("div.row", h("h1", { tabindex: -1 }, nameOf(image)), pill(image.status),
        h("div.push.row", retryable(image) && button("Retry", "retry", {}, "main"), button("Delete", "delete", {}, "danger"))),
      steps(image, false),
      image.error && note([image.error.message, " ", h("code", image.error.code)], { tone: "bad" }),
      h("div.grid",
        standard && h("figure.card", { "data-key": "standard" }, h("img.picture", { src: standard.url, width: standard.width, height: standard.height, alt: `${nameOf(image)}, ${standard.width} × ${standard.height}` }),
          h("figcaption.soft.small", Object.entries(image.renditions).map(([name, one], place) => [place > 0 && " · ", out(one.url, capital(name)), ` ${one.width} × ${one.height}, ${size(one.bytes)}`]))),
        predictions(image)),
      comparison(image, state),
      h("div.grid", timings(image), original(image))));
  };
  const run = () => follow(id, show, signal).catch((error) => {
    main.replaceChildren(h("div.stack", h("h1", { tabindex: -1 }, "No such image"), note(error.message, { tone: "bad" }), h("p", h("a", { href: "#/" }, "All images"))));
  });
  run();
  // The file that was sent may be one that no browser shows.
  main.addEventListener("error", (event) => {
    if (event.target.dataset?.own && state.image) { previews.set(id, null); show(state.image); }
  }, { capture: true, signal });
  return {
    title: "Image",
    acts: {
      format: (_, radio) => { state.format = radio.value; show(state.image); },
      actual: (_, box) => box.closest("section").querySelector(".frame").classList.toggle("actual", box.checked),
      cut: (_, range) => {
        range.parentNode.style.setProperty("--cut", `${range.value}%`);
        range.setAttribute("aria-valuetext", `${range.value} % original`);
      },
      retry: async () => { await call("POST", `images/${id}/retry`); toast("It is on its way again."); run(); },
      delete: async () => {
        if (await removed(id, nameOf(state.image))) location.hash = "#/";
      },
    },
  };
}

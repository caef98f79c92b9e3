// Parcels: where they are and were, and updates of them.
const PARCEL_STATUSES = ["pending", "in_transit", "delivered", "failed"];

// A map without tiles: meridians and parallels around the places, and the way between them.
function map(updates) {
  const [wide, high, edge] = [640, 300, 46];
  const points = updates.map(({ location: { lat, lng } }) => [lng, lat]).reverse();
  const range = (axis) => [Math.min(...points.map((p) => p[axis])), Math.max(...points.map((p) => p[axis]))];
  const [[west, east], [south, north]] = [range(0), range(1)];
  const middle = [(west + east) / 2, (south + north) / 2];
  // Degrees of longitude are shorter away from the equator.
  const squeeze = Math.max(0.2, Math.cos(middle[1] * Math.PI / 180));
  const scale = Math.min((wide - 2 * edge) / (Math.max(east - west, 0.02) * squeeze), (high - 2 * edge) / Math.max(north - south, 0.02));
  const x = (lng) => wide / 2 + (lng - middle[0]) * squeeze * scale;
  const y = (lat) => high / 2 - (lat - middle[1]) * scale;
  const step = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60].find((one) => one * squeeze * scale > 70) ?? 90;
  const marks = (from, to) => Array.from({ length: Math.floor(to / step) - Math.ceil(from / step) + 1 }, (_, n) => (Math.ceil(from / step) + n) * step);
  const degrees = (value, [plus, minus]) => `${Number(Math.abs(value).toFixed(3))}°${value > 0 ? plus : value < 0 ? minus : ""}`;
  const lngs = marks(Math.max(-180, middle[0] - wide / 2 / squeeze / scale), Math.min(180, middle[0] + wide / 2 / squeeze / scale));
  const lats = marks(Math.max(-90, middle[1] - high / 2 / scale), Math.min(90, middle[1] + high / 2 / scale));
  const last = points.at(-1);
  return s("svg", { class: "map", viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `Map of ${points.length} places; the latest is at ${degrees(last[1], "NS")} ${degrees(last[0], "EW")}` },
    lngs.map((lng) => [s("line", { x1: x(lng), x2: x(lng), y1: 0, y2: high }), s("text", { x: x(lng) + 4, y: high - 7 }, degrees(lng, "EW"))]),
    lats.map((lat) => [s("line", { x1: 0, x2: wide, y1: y(lat), y2: y(lat) }), s("text", { x: 6, y: y(lat) - 4 }, degrees(lat, "NS"))]),
    s("polyline", { points: points.map(([lng, lat]) => `${x(lng)},${y(lat)}`).join(" ") }),
    points.slice(0, -1).map(([lng, lat]) => s("circle", { cx: x(lng), cy: y(lat), r: 4.5 })),
    s("circle", { class: "halo", cx: x(last[0]), cy: y(last[1]), r: 15 }), s("circle", { class: "here", cx: x(last[0]), cy: y(last[1]), r: 6.5 }));
}

function updateLine(update) {
  const { lat, lng } = update.location;
  return h("li", { "data-key": update.timestamp },
    h("div.row", pill(update.status), h("span.soft.small", moment(update.occurred_at))),
    h("p.small", `${lat}, ${lng}`, update.distance_m !== undefined && h("span.soft", ` · ${update.distance_m < 1000 ? `${Math.round(update.distance_m)} m` : `${number.format(Math.round(update.distance_m / 1000))} km`} and ${span(Math.round(update.seconds_since_last_update * 1000))} after the one before`)),
    update.metadata && h("p.small.soft", Object.entries(update.metadata).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join(" · ")),
    update.image_id && h("p", h("a.row.small", { href: `#/images/${update.image_id}` }, update.image && thumb({ ...update.image, renditions: { thumb: update.image.thumb } }), update.image?.top_prediction ? `Photo: ${update.image.top_prediction}` : update.image ? "Photo" : "A photo that was deleted")));
}

function field(name, label, input, error, hint) {
  input.id = `f-${name}`;
  input.name = name;
  if (error) { input.setAttribute("aria-invalid", "true"); input.setAttribute("aria-describedby", `e-${name}`); }
  return h("div.field", { "data-key": name }, h("label", { for: `f-${name}` }, label, hint && h("span.soft", ` ${hint}`)), input, error && h("p.wrong", { id: `e-${name}` }, capital(error), "."));
}

function signedOnly(title, paths, example) {
  const region = /\.execute-api\.([\w-]+)\./.exec(location.hostname)?.[1] ?? "REGION";
  return card("signed", `${title}: this stage takes signed requests alone`,
    h("p", "Deployed, requests to ", paths.flatMap((path, number) => [number ? " and " : null, h("code", `/${path}`)]), " are behind AWS_IAM: each has to be signed with AWS credentials. A page in a browser has none, and should not be given any. Under ", h("code", "make run"), " nothing has to be signed."),
    h("p", "From a terminal with credentials:"),
    h("pre", { tabindex: 0 }, `curl --aws-sigv4 aws:amz:${region}:execute-api \\\n  --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \\\n  -H "x-amz-security-token: $AWS_SESSION_TOKEN" \\\n  '${location.origin}${base}${example}'`));
}

function parcelsView(id, signal) {
  if (root.dataset.signed === "yes") {
    main.replaceChildren(h("div.stack", h("h1", { tabindex: -1 }, "Parcels"), signedOnly("Parcels", ["track", "status"], "status?tracking_id=PX-1")));
    return { title: "Parcels", acts: {} };
  }
  const state = { id, parcel: null, failure: null, errors: {}, photos: null, key: newKey(), sending: false };

  const form = () => {
    const error = (name) => state.errors[name];
    return h("form.card.form", { "data-submit": "track", "aria-labelledby": "send-title", novalidate: true },
      h("h2", { id: "send-title" }, "Send an update"),
      field("tracking_id", "Tracking id", h("input", { maxlength: 100, autocomplete: "off", value: state.id, placeholder: "PX-1" }), error("tracking_id")),
      field("status", "Status", h("select", PARCEL_STATUSES.map((one) => h("option", { value: one, selected: one === "in_transit" }, capital(words(one))))), error("status")),
      h("div.pair",
        field("lat", "Latitude", h("input", { inputmode: "decimal", placeholder: "40.7128", autocomplete: "off" }), error("location.lat") ?? error("location")),
        field("lng", "Longitude", h("input", { inputmode: "decimal", placeholder: "-74.006", autocomplete: "off" }), error("location.lng"))),
      field("occurred_at", "When it happened", h("input", { type: "datetime-local", step: 1 }), error("occurred_at"), "(now, if empty)"),
      field("notify_email", "Who is told by e-mail", h("input", { type: "email", autocomplete: "off", placeholder: "someone@example.com" }), error("notify_email"), "(optional)"),
      field("metadata", "More, as JSON", h("textarea", { rows: 2, spellcheck: "false", placeholder: "{\"driver\": \"Ada\"}" }), error("metadata"), "(optional)"),
      h("fieldset", { "data-key": "photos" }, h("legend", "Delivery photo"),
        h("div.photos", h("label", h("input", { type: "radio", name: "image_id", value: "", checked: true }), "None"),
          (state.photos ?? []).map((image) => h("label", { "data-key": image.image_id }, h("input", { type: "radio", name: "image_id", value: image.image_id, "aria-label": nameOf(image) }), h("img", { src: image.renditions.thumb.url, alt: "", loading: "lazy" })))),
        state.photos && !state.photos.length && h("p.soft.small", "Photos that are completed can be chosen here."),
        error("image_id") && h("p.field.wrong", error("image_id"))),
      state.errors.body && note(state.errors.body, { tone: "bad" }),
      h("button.main", { type: "submit", disabled: state.sending }, state.sending ? "Sending …" : "Send the update"));
  };
  const shown = () => {
    const { parcel } = state;
    if (state.failure) return note(state.failure.message, { tone: "bad" });
    if (!state.id) return h("div.card", empty("parcel", "No parcel is open", "Look one up by its id, or send its first update."));
    if (!parcel) return h("p.soft", "Loading …");
    if (!parcel.updates.length) return h("div.card", empty("parcel", `Nobody has heard of ${state.id}`, "Send its first update with the form."));
    const { current } = parcel;
    return h("div.stack",
      h("section.card.stack", { "aria-labelledby": "now" }, h("div.row", h("h2", { id: "now" }, state.id), pill(current.status), h("span.soft.small.push", "since ", moment(current.status_changed_at))), map(parcel.updates)),
      card("history", "History",
        h("ol.time", parcel.updates.map(updateLine)),
        parcel.next_key && h("p", button("Older updates", "older"))));
  };
  const view = () => h("div.stack", h("h1", { tabindex: -1 }, "Parcels"),
    h("form.row", { role: "search", "data-submit": "open" }, h("label", { for: "look", class: "hidden" }, "Tracking id to look up"),
      h("input", { id: "look", name: "look", type: "search", maxlength: 100, placeholder: "Tracking id", value: state.id, style: { "max-width": "20rem" } }), h("button", "Look up")),
    h("div.grid", form(), h("div", { "data-key": "shown" }, shown())));
  const show = () => morph(main.firstChild, view());
  const load = async (last) => {
    if (!state.id) return;
    try {
      const page = await call("GET", `status?${new URLSearchParams({ tracking_id: state.id, limit: 50, ...(last && { last_key: last }) })}`, { signal });
      state.parcel = last ? { ...page, updates: [...state.parcel.updates, ...page.updates] } : page;
      state.failure = null;
    } catch (error) {
      if (signal.aborted) return;
      state.failure = error;
    }
    show();
  };
  main.replaceChildren(view());
  load();
  call("GET", "images?status=completed&limit=40", { signal }).then((page) => { state.photos = page.items.filter((image) => image.renditions?.thumb); show(); }).catch(() => {});

  return {
    title: id ? `${id} · Parcels` : "Parcels",
    acts: {
      open: (_, target) => {
        const wanted = target.elements.look.value.trim();
        if (wanted === state.id) load();
        else location.hash = `#/parcels/${encodeURIComponent(wanted)}`;
      },
      older: () => load(state.parcel.next_key),
      track: async (_, target) => {
        const value = (name) => target.elements[name].value.trim();
        const decimal = (text) => (text === "" || Number.isNaN(Number(text)) ? text : Number(text));
        const json = { tracking_id: value("tracking_id"), status: value("status"), location: { lat: decimal(value("lat")), lng: decimal(value("lng")) } };
        if (value("occurred_at")) json.occurred_at = new Date(value("occurred_at")).getTime();
        for (const name of ["notify_email", "image_id"]) if (value(name)) json[name] = value(name);
        state.errors = {};
        try {
          if (value("metadata")) json.metadata = JSON.parse(value("metadata"));
          state.sending = true;
          show();
          await call("POST", "track", { json, headers: { "Idempotency-Key": state.key }, signal });
          state.key = newKey();
          toast("The update was stored.");
          if (json.tracking_id === state.id) await load();
          else location.hash = `#/parcels/${encodeURIComponent(json.tracking_id)}`;
        } catch (error) {
          // A changed request needs a new key; one that nobody answered is the same request again.
          if (error.status) state.key = newKey();
          if (error instanceof SyntaxError) state.errors.metadata = "is no JSON";
          else if (error.code === "image_not_found") state.errors.image_id = error.message;
          else if (error.errors?.length) for (const { field: name, message } of error.errors) state.errors[name] = message;
          else state.errors.body = error.message;
        } finally {
          state.sending = false;
          if (!signal.aborted) show();
          main.querySelector("[aria-invalid=true]")?.focus();
        }
      },
    },
  };
}

// How the service is: what it depends on, what waits, what was given up.
function check(name, { status, ...facts }) {
  return h("li.card.row", { "data-key": name }, h("b", capital(words(name))), h("span.push", pill(status)),
    Object.entries(facts).map(([fact, value]) => h("p.small.soft", { style: { "flex-basis": "100%" } }, told(fact, value))));
}
function told(fact, value) {
  if (fact === "last_run") return value ? ["last run ", moment(value * 1000)] : "never ran";
  if (Array.isArray(value)) return `${words(fact)}: ${value.map(words).join(", ")}`;
  if (typeof value === "number") return `${number.format(value)} ${words(fact)}`;
  return `found: ${Object.entries(value).map(([what, count]) => `${count} ${words(what)}`).join(", ") || "nothing"}`;
}

function letterLine({ step, message_id: id, image_id: image, tracking_id: parcel, buried_at: at, reason: why }) {
  const name = image ? `Image ${image.slice(0, 8)}` : parcel ?? `Message ${id.slice(0, 8)}`;
  const place = image ? `images/${image}` : parcel && `parcels/${encodeURIComponent(parcel)}`;
  return h("li.line", { "data-key": `${step}/${id}` }, h("span.thumb", icon(parcel ? "parcel" : "broken")),
    h("div", h(place ? "a.name" : "span.name", { href: place && `#/${place}` }, name),
      h("div.row.small", h("span.pill.bad", capital(step)), h("span.soft", "since ", moment(at * 1000), ` (${span(Math.max(0, Date.now() - at * 1000))})`)), why && reason(why)),
    h("div.acts", button("Redrive", "redrive", { step, id, label: `Redrive ${name}, ${step}` })));
}

function healthView(signal) {
  const signed = root.dataset.signed === "yes";
  const state = { health: null, failure: null, letters: null, more: false, wrong: null, asked: null };
  const view = () => {
    const entries = Object.entries(state.health?.checks ?? {});
    const queues = entries.filter((entry) => "waiting" in entry[1]);
    const others = entries.filter((entry) => !queues.includes(entry));
    const group = (title, text, list) => list.length > 0 && h("section.stack", h("h2", title), text && h("p.soft.small", text), h("ul.grid", list.map(([name, result]) => check(name, result))));
    const { letters, more } = state;
    const count = letters && `${letters.length}${more ? "+" : ""}`;
    return h("div.stack",
      h("div.row", h("h1", { tabindex: -1 }, "Health"), state.health && pill(state.health.status), state.asked && h("span.soft.small.push", "asked ", state.asked.toLocaleTimeString())),
      state.failure && note(state.failure.message, { tone: "bad" }),
      !state.health && !state.failure && h("p.soft", "Asking …"),
      state.health?.failing && note(`Not answering: ${state.health.failing.map(words).join(", ")}.`, { tone: "bad" }),
      group("Queues", "Messages that wait to be taken up.", queues),
      signed ? signedOnly("Dead letters", ["dead-letters"], "dead-letters") : h("section.card", { "aria-labelledby": "lost" },
        h("div.row", h("h2", { id: "lost" }, "Dead letters"), letters?.length > 1 && h("span.push", button(`Redrive all ${count}`, "redrive-all", {}, "main"))),
        h("p.soft.small", "Messages that were tried until the last time. Put right what was wrong, then send them back."),
        state.wrong && note(state.wrong.message, { tone: "bad", act: button("Try again", "look") }),
        letters ? letters.length ? h("ol.lines", letters.map(letterLine)) : h("p", "Nothing was given up.") : !state.wrong && h("p.soft", "Asking …"),
        more && h("p.soft.small", `The first ${letters.length} are shown.`)),
      group("Depends on", "", others));
  };
  const show = () => morph(main.firstChild, view());
  main.replaceChildren(view());
  const look = async () => {
    try {
      state.health = await call("GET", "health", { signal, also: [503] });
      // The 503 of an error has no checks.
      if (!state.health.checks) throw new Refusal(503, state.health);
      state.failure = null;
    } catch (error) {
      if (signal.aborted) return "done";
      Object.assign(state, { failure: error, health: null });
    }
    state.asked = new Date();
    show();
    if (signed) return true;
    try {
      const page = await call("GET", "dead-letters?limit=100", { signal });
      Object.assign(state, { letters: page.items.sort((a, b) => a.buried_at - b.buried_at), more: page.next_cursor !== null, wrong: null });
    } catch (error) {
      if (signal.aborted) return "done";
      state.wrong = error;
    }
    show();
    return true;
  };
  poll(look, signal, { first: 10000, most: 60000 }).catch(() => {});
  const redrive = async (requests) => {
    const outcomes = {};
    for (const json of requests) {
      do {
        const page = await call("POST", "dead-letters/redrive", { json });
        for (const { outcome } of page.items) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
        json.cursor = page.next_cursor;
      } while (json.cursor);
    }
    toast(`Letters: ${Object.entries(outcomes).map(([outcome, count]) => `${count} ${words(outcome)}`).join(", ")}.`);
    await look();
  };
  return {
    title: "Health",
    acts: {
      look,
      redrive: ({ step, id }) => redrive([{ step, message_ids: [id] }]),
      // Of a step all, those that are not shown too.
      "redrive-all": () => redrive([...new Set(state.letters.map(({ step }) => step))].map((step) => ({ step }))),
    },
  };
}

// How the service is: what it depends on, what waits, what was given up.
// Not the image's fault: it was tried until it became a dead letter, and may work now.
const GIVEN_UP = ["service_unavailable", "internal_error", "worker_lost", "model_unusable", "model_input_unusable"];

function check(name, { status, ...facts }) {
  return h("li.card.row", { "data-key": name }, h("b", capital(words(name))), h("span.push", pill(status)),
    Object.entries(facts).map(([fact, value]) => h("p.small.soft", { style: { "flex-basis": "100%" } }, h("span.num", typeof value === "number" ? number.format(value) : String(value)), ` ${words(fact)}`)));
}

function healthView(signal) {
  const state = { health: null, failure: null, lost: null, asked: null };
  const view = () => {
    const entries = Object.entries(state.health?.checks ?? {});
    const letters = entries.filter(([name]) => name.includes("dead_letter"));
    const queues = entries.filter((entry) => "waiting" in entry[1] && !letters.includes(entry));
    const others = entries.filter((entry) => !queues.includes(entry) && !letters.includes(entry));
    const group = (title, text, list) => list.length > 0 && h("section.stack", h("h2", title), text && h("p.soft.small", text), h("ul.grid", list.map(([name, result]) => check(name, result))));
    const { lost } = state;
    return h("div.stack",
      h("div.row", h("h1", { tabindex: -1 }, "Health"), state.health && pill(state.health.status), state.asked && h("span.soft.small.push", "asked ", state.asked.toLocaleTimeString())),
      state.failure && note(state.failure.message, { tone: "bad" }),
      !state.health && !state.failure && h("p.soft", "Asking …"),
      state.health?.failing && note(`Not answering: ${state.health.failing.map(words).join(", ")}.`, { tone: "bad" }),
      group("Queues", "Messages that wait to be taken up.", queues),
      group("Dead letters", "Messages that were tried until the last time.", letters),
      h("section.card", { "aria-labelledby": "lost" },
        h("div.row", h("h2", { id: "lost" }, "Given up"), lost?.length > 1 && h("span.push", button(`Redrive all ${lost.length}`, "redrive-all", {}, "main"))),
        h("p.soft.small", "Images whose message became a dead letter through no fault of their own. The letter is kept; redrive sends the image on its way again from the step that failed."),
        lost === null ? h("p.soft", "Asking …") : lost.length ? h("ol.lines", lost.map((image) => h("li.line", { "data-key": image.image_id }, thumb(image),
          h("div", h("a.name", { href: `#/images/${image.image_id}` }, nameOf(image)), h("div.row.small", pill(image.status)), reason(image.error)),
          h("div.acts", button("Redrive", "redrive", { id: image.image_id, label: `Redrive ${nameOf(image)}` })))))
          : h("p", "Nothing was given up.")),
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
    const pages = await Promise.all(FAILED.map((status) => call("GET", `images?status=${status}&limit=100`, { signal })));
    state.lost = pages.flatMap((page) => page.items).filter((image) => GIVEN_UP.includes(image.error?.code));
    show();
    return true;
  };
  poll(look, signal, { first: 10000, most: 60000 }).catch(() => {});
  const redrive = async (images) => {
    let sent = 0;
    for (const { image_id: id } of images) {
      await call("POST", `images/${id}/retry`, { also: [404, 409] });
      sent += 1;
    }
    toast(`${sent} ${sent === 1 ? "image is" : "images are"} on the way again.`);
    await look();
  };
  return {
    title: "Health",
    acts: {
      redrive: ({ id }) => redrive([{ image_id: id }]),
      "redrive-all": () => redrive(state.lost),
    },
  };
}

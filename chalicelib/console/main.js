// Which view is shown, and what its buttons do. One listener for each kind of event, so that elements
// can be exchanged without losing what they do.
let stop = new AbortController();
let acts = {};

function route() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  const [, place = "", name = ""] = path.split("/").map(decodeURIComponent);
  const params = new URLSearchParams(query);
  stop.abort();
  stop = new AbortController();
  const view = place === "parcels" ? parcelsView(name, stop.signal)
    : place === "health" ? healthView(stop.signal)
      : place === "images" && name ? imageView(name, stop.signal)
        : imagesView(params, stop.signal);
  acts = { ...uploadActs, ...view.acts };
  document.title = `${view.title} · Darkroom`;
  for (const link of document.querySelectorAll(".bar nav a")) {
    const current = link.hash === "#/" ? !["parcels", "health"].includes(place) : link.hash === `#/${place}`;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}
addEventListener("hashchange", () => {
  route();
  scrollTo(0, 0);
  main.querySelector("h1")?.focus({ preventScroll: true });
});

const THEMES = { Auto: "light dark", Light: "light", Dark: "dark" };
const themeButton = document.getElementById("theme");
function theme(name) {
  root.style.colorScheme = THEMES[name];
  themeButton.textContent = name;
  themeButton.setAttribute("aria-label", `Colours: ${name}`);
}
// Storage may be forbidden.
const remembered = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
theme(THEMES[remembered] ? remembered : "Auto");

const everywhere = {
  theme: () => {
    const names = Object.keys(THEMES);
    const chosen = names[(names.indexOf(themeButton.textContent) + 1) % names.length];
    theme(chosen);
    try { localStorage.setItem("theme", chosen); } catch { /* Then it is not remembered. */ }
  },
};
async function act(name, element) {
  try {
    await (everywhere[name] ?? acts[name])?.(element.dataset, element);
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message);
  }
}
for (const [event, data] of [["click", "act"], ["change", "change"], ["input", "input"], ["submit", "submit"]]) {
  document.addEventListener(event, (what) => {
    const element = what.target.closest?.(`[data-${data}]`);
    if (!element) return;
    if (event === "submit") what.preventDefault();
    act(element.dataset[data], element);
  });
}
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
for (const link of document.querySelectorAll("[data-path]")) link.href = base + link.dataset.path;

// Photos may be dropped anywhere.
document.addEventListener("change", (event) => {
  if (event.target.id !== "files") return;
  add([...event.target.files]);
  event.target.value = "";
});
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => { if (carriesFiles(event)) { event.preventDefault(); root.classList.add("over"); } });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) root.classList.remove("over"); });
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  root.classList.remove("over");
  if (location.hash && !/^#\/(\?|$)/.test(location.hash)) location.hash = "#/";
  add([...event.dataTransfer.files]);
});
route();

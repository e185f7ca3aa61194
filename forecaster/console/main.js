// Puts the parts together: what is fetched when, and where it is shown.

import { makeAlerts } from "./alerts.js";
import * as api from "./api.js";
import { byId, el, say, throttled } from "./dom.js";
import { nothing, troubles } from "./empty.js";
import { count, makeList } from "./list.js";
import { follow } from "./live.js";
import * as place from "./place.js";
import { chosen, odd, prepared } from "./rows.js";
import { makeStory } from "./story.js";
import { named, second, span, zone } from "./words.js";

const APART = 1000; // milliseconds between two fetches of the same, however many forecasts are made
const TICK = 15000; // how often what depends on the clock alone is shown anew
const WIDE = matchMedia("(min-width: 900px)"); // the list, and one series beside it
const QUIET = 60; // seconds without news after which a stream that is called live is no longer relied on
const OLD = 300; // seconds after which numbers that couldn't be renewed are called old: as /metrics drops them then

const at = place.read();
let data = null, items = [], received = 0, failure = "", live = "connecting";
let story = null, fetching = null, greeted = 0;

const elapsed = () => (data ? Math.max(0, api.now() - data.now) : 0); // since the overview was made
const unseen = () => (received ? (performance.now() - received) / 1000 : 0); // since it was asked for
const announce = (text) => { byId("say").textContent = text; };

const list = makeList(byId("rows"), { choose: (row) => choose(row, false), open: (row) => choose(row, true) });
const pane = makeStory(byId("story"), { change, back, told: announce });
const alerts = makeAlerts(byId("alerts"), byId("firing"), announce);

// -- the list ------------------------------------------------------------------------------------------------------

async function fetchOverview() {
  try {
    const answer = await api.overview();
    [data, received, failure] = [answer, performance.now(), ""];
    items = prepared(data);
    if (!fetching) tell();
  } catch (error) {
    failure = error.message;
  }
  show();
}

function show() {
  age();
  if (!data) return;
  forecasts();
  const shown = chosen(items, { search: at.search, forecast: at.filter, sort: at.sort });
  const none = !shown.length;
  byId("rows").hidden = none;
  byId("empty").hidden = !none;
  if (none) byId("empty").replaceChildren(...nothing(data, Boolean(at.search || at.filter)));
  list.show(shown, elapsed());
  if (!at.id && shown.length && WIDE.matches) { list.select(shown[0].row.id); choose(shown[0].row, false); }
  count(byId("found"), shown.length, items.length);
  const strange = items.filter(({ row }) => odd(row)).length;
  const crossing = items.filter(({ row }) => row.crossing?.seconds > elapsed()).length;
  say(byId("totals"), [[items.length, "series"], [strange, "odd now"], [crossing, "expected to cross"]]
    .filter(([count]) => count).map((pair) => pair.join(" ")).join(" · "));
  if (items.length && !performance.getEntriesByName("cloudpulse-rows").length) performance.mark("cloudpulse-rows");
  document.title = strange ? `(${strange}) CloudPulse` : "CloudPulse";
}

function forecasts() {
  const filter = byId("filter");
  const names = data.forecasts.map(({ name }) => name);
  if (filter.dataset.names !== JSON.stringify(names)) {
    filter.dataset.names = JSON.stringify(names);
    filter.replaceChildren(el("option", { value: "" }, "all"), ...names.map((name) => el("option", { value: name }, name)));
    filter.value = names.includes(at.filter) ? at.filter : "";
    at.filter = filter.value;
  }
  troubles(byId("states"), items.length ? data.forecasts : []);
}

// How old is what is shown? Nobody may take an old number for a new one.
function age() {
  const away = byId("away");
  const old = data !== null && unseen() > OLD;
  document.body.classList.toggle("old", old);
  away.hidden = !failure && !old;
  if (away.hidden) return;
  say(byId("away-why"), failure ? `The forecaster is away: ${failure}. It is tried again by itself.` : "Nothing new has come.");
  say(byId("away-since"), data ? ` What you see is from ${second(api.now() - unseen())}, ${span(unseen())} ago${old ? ": too old to act on" : ""}.` : "");
}

// -- one series ----------------------------------------------------------------------------------------------------

function choose(row, open) {
  const step = open && !document.body.classList.contains("in-story");
  [at.id, at.forecast] = [row.id, row.forecast];
  place.write(at, { step });
  if (open) read();
  pane.waiting(row, title(row));
  fetchStory();
}

// On a narrow screen the story takes the list's place; on a wide one the chart takes the keys.
function read() {
  document.body.classList.add("in-story");
  if (!WIDE.matches) byId("story").focus();
}

function back() {
  document.body.classList.remove("in-story");
  byId("rows").focus();
}

function change(changes) {
  Object.assign(at, changes);
  place.write(at);
  if ("past" in changes || !story) fetchStory();
  else tell();
}

async function fetchStory() {
  if (!at.id) return;
  if (fetching) fetching.abort();
  const mine = fetching = new AbortController();
  try {
    const answer = await api.series(at, at.past, mine.signal);
    if (mine !== fetching) return;
    story = answer;
    pane.stale("");
    tell();
  } catch (error) {
    if (mine !== fetching || error.name === "AbortError") return;
    if (error.gone) { story = null; pane.gone(`This series has no fresh forecast: ${error.message}`); }
    else if (story?.row.id === at.id) pane.stale(`What follows is from ${second(story.now)}, and can't be renewed: ${error.message}.`);
    else pane.gone(`This series can't be shown: ${error.message}. It is tried again by itself.`);
  } finally {
    if (mine === fetching) { fetching = null; pane.ready(); }
  }
}

const title = (row) => items.find((item) => item.row.id === row.id)?.title ?? named(row.labels);

function tell() {
  if (story?.row.id === at.id) pane.show(story, title(story.row), { past: at.past, earlier: at.earlier, models: at.models ? at.models.split(",") : [] }, api.now(), alerts.of(story.row));
}

// -- live ----------------------------------------------------------------------------------------------------------

const renewOverview = throttled(fetchOverview, APART);
const renewStory = throttled(fetchStory, APART);

follow({
  state(word, wait) {
    live = word;
    byId("live").dataset.state = word;
    say(byId("live-word"), word === "reconnecting" && wait ? `reconnecting in ${Math.ceil(wait)} s` : word);
  },
  open() { alerts.clear(); renewOverview(); renewStory(); },
  message(event) {
    if (event.kind === "hello") greeted = event.now; // alerts from before are shown, and not told as news
    else if (event.kind === "forecast") {
      renewOverview();
      if (event.forecast === at.forecast) renewStory();
    } else if (event.kind === "anomaly") {
      if (event.state === "begins") announce(`${title(event)}, ${event.forecast}, is odd now`);
      renewOverview();
      if (event.id === at.id) renewStory();
    } else if (event.kind === "alert") {
      alerts.told(event.alert, event.at, Date.parse(event.alert.at) / 1000 > greeted);
      tell();
    }
  },
});

setInterval(() => {
  if (document.hidden) return;
  if (live === "live" && unseen() < QUIET) { show(); return; }
  renewOverview(); // also where no WebSocket gets through, and where one has fallen silent
  renewStory();
}, TICK);

// -- the reader's hands --------------------------------------------------------------------------------------------

const again = (key) => (event) => { at[key] = event.target.value; place.write(at); byId("rows").scrollTop = 0; show(); };
byId("search").addEventListener("input", again("search"));
byId("filter").addEventListener("change", again("filter"));
byId("sort").addEventListener("change", again("sort"));

document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); byId("rows").focus(); });

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input[type=search], select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) { event.preventDefault(); byId("search").focus(); }
  else if (event.key === "Escape" && typing) { byId("search").value = at.search = ""; place.write(at); show(); byId("rows").focus(); }
  else if (event.key === "Escape") back();
  else if (event.key === "Enter" && event.target === byId("rows") && at.id) setTimeout(pane.focus);
  else if (event.key === "Enter" && event.target === byId("search")) {
    const first = list.first();
    if (first) { list.select(first.id); choose(first, false); byId("rows").focus(); }
  }
});

function applied() {
  byId("search").value = at.search;
  byId("sort").value = at.sort;
  byId("filter").value = at.filter;
  list.select(at.id);
}

addEventListener("popstate", () => {
  const before = at.id;
  Object.assign(at, place.read());
  applied();
  show();
  if (at.id && at.id === before && document.body.classList.contains("in-story")) back();
  else if (at.id) { read(); fetchStory(); }
  else { story = null; back(); }
});

// -- light and dark ------------------------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];
const theme = byId("theme");

function themed() {
  const now = document.documentElement.dataset.theme || "auto";
  theme.textContent = `${{ auto: "◐", light: "○", dark: "●" }[now]} ${now}`;
  theme.setAttribute("aria-label", `Theme: ${now}`);
}

theme.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "auto") + 1) % THEMES.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    if (next === "auto") localStorage.removeItem("cloudpulse.theme");
    else localStorage.setItem("cloudpulse.theme", next);
  } catch { /* no storage: it holds for this page */ }
  themed();
  pane.repaint();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => pane.repaint());

// -- begin ---------------------------------------------------------------------------------------------------------

themed();
say(byId("zone"), `Times in ${zone()}`);
applied();
if (at.id) { document.body.classList.add("in-story"); fetchStory(); }
fetchOverview();

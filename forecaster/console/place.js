// Where the reader is, kept in the address: a link that is sent on shows the same.

export const PASTS = ["6h", "24h", "3d"];
const SORTS = ["crossing", "trust", "odd", "name"]; // of which rows.js has the orders

const DEFAULTS = { id: "", forecast: "", past: "24h", earlier: "", models: "", search: "", filter: "", sort: "crossing" };

export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  const place = Object.fromEntries(Object.keys(DEFAULTS).map((key) => [key, given.get(key) ?? DEFAULTS[key]]));
  if (!PASTS.includes(place.past)) place.past = DEFAULTS.past;
  if (!SORTS.includes(place.sort)) place.sort = DEFAULTS.sort;
  return place;
}

// `step`: a new entry of the browser's history, so that its back button leads here.
export function write(place, { step = false } = {}) {
  const kept = Object.entries(place).filter(([key, value]) => key in DEFAULTS && value !== DEFAULTS[key]);
  const address = `${location.pathname}${location.search}${kept.length ? `#${new URLSearchParams(kept)}` : ""}`;
  if (step) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

// Which rows are shown, and in what order. No page: functions of data alone.

import { named } from "./words.js";

const TRUST = { poor: 0, fair: 1, unknown: 2, good: 3 };
const LAST = Number.MAX_VALUE;

const name = (a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0);
const rising = (of) => (a, b) => of(a.row) - of(b.row) || name(a, b);
const crossing = (row) => (row.crossing ? row.crossing.seconds : LAST);
const score = (row) => row.score ?? -1;
const error = (row) => Math.max(-1, ...Object.values(row.mase).filter((value) => value !== null));

const ORDERS = {
  crossing: rising(crossing),
  trust: (a, b) => TRUST[a.row.trust] - TRUST[b.row.trust] || error(b.row) - error(a.row) || name(a, b),
  odd: rising((row) => -score(row)),
  name,
};

// Odd: outside of the band by its own account (0 as expected, 1 at the band's edge).
export const odd = (row) => row.score !== null && row.score > 1;

// [{row, title, thresholds, text}] of an overview: what is searched and sorted by is made once.
export function prepared({ rows, forecasts }) {
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const same = shared(rows);
  const thresholds = new Map(forecasts.map((one) => [one.name, one.thresholds]));
  const items = rows.map((row) => {
    const title = named(row.labels, same.get(row.forecast));
    const pairs = Object.entries(row.labels).map(([label, value]) => `${label}=${value}`).join(" ");
    return { row, title, thresholds: thresholds.get(row.forecast), search: `${row.forecast} ${title} ${pairs}`.toLowerCase() };
  });
  items.sort((a, b) => collator.compare(a.title, b.title) || collator.compare(a.row.forecast, b.row.forecast));
  items.forEach((item, place) => { item.text = place; });
  return items;
}

// By forecast, the labels that all of its series have with the same value: they tell nothing apart.
function shared(rows) {
  const found = new Map();
  for (const { forecast, labels } of rows) {
    if (!found.has(forecast)) { found.set(forecast, { ...labels }); continue; }
    const kept = found.get(forecast);
    for (const name of Object.keys(kept)) if (kept[name] !== labels[name]) delete kept[name];
  }
  return found;
}

// Those that hold every word of `search` and belong to `forecast` ("" is any), in that order.
export function chosen(items, { search, forecast, sort }) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return items
    .filter(({ row }) => !forecast || row.forecast === forecast)
    .filter((item) => words.every((word) => item.search.includes(word)))
    .sort(ORDERS[sort]);
}

// What the alert bridge says: which alerts fire now, and where they lie in a chart.

import { el } from "./dom.js";
import { named, time } from "./words.js";

const MOST = 50; // shown at a time
const KEPT = 500; // beginnings that charts may show

export function makeAlerts(section, list, announce) {
  const firing = new Map(); // fingerprint -> {labels, annotations, since}
  const begun = []; // {labels, time}: alerts that began while this page was open, or that fire

  function draw() {
    section.hidden = !firing.size;
    const all = [...firing.values()].sort((a, b) => b.since - a.since);
    list.replaceChildren(...all.slice(0, MOST).map(({ labels, annotations, since }) =>
      el("li", {},
        el("span", { class: "mark odd", "aria-hidden": "true" }),
        el("strong", {}, labels.alertname || "alert"),
        el("span", {}, annotations.summary || named(withoutName(labels))),
        el("time", { datetime: new Date(since * 1000).toISOString() }, `since ${time(since)}`))));
    if (all.length > MOST) list.append(el("li", {}, `and ${all.length - MOST} more`));
  }

  function take(alert, at) {
    const key = alert.fingerprint || JSON.stringify(alert.labels);
    if (alert.status === "resolved") return firing.delete(key);
    if (firing.has(key)) return false;
    const since = Date.parse(alert.startsAt) / 1000 || at;
    const entry = { labels: alert.labels || {}, annotations: alert.annotations || {}, since };
    firing.set(key, entry);
    begun.push({ labels: entry.labels, time: since });
    if (begun.length > KEPT) begun.shift();
    return true;
  }

  return {
    // One event of the bridge's stream, heard `at` Unix seconds. `loud`: something new is told to a screen reader, too.
    told(event, at, loud) {
      const fresh = (event.alerts || []).filter((alert) => take(alert, at) && alert.status !== "resolved");
      draw();
      if (loud && fresh.length) {
        const [first] = fresh;
        const what = (first.annotations || {}).summary || named(withoutName(first.labels || {}));
        announce(`Alert ${(first.labels || {}).alertname || ""}: ${what}${fresh.length > 1 ? ` and ${fresh.length - 1} more` : ""}`);
      }
    },
    // The beginnings that concern a series: alerts that have all of its labels.
    of: (row) => begun.filter(({ labels }) =>
      (!labels.forecast || labels.forecast === row.forecast) &&
      Object.entries(row.labels).every(([name, value]) => labels[name] === value)),
    clear() { firing.clear(); begun.length = 0; draw(); },
  };
}

const withoutName = ({ alertname: _, ...labels }) => labels;

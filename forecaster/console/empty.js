// When there is nothing to show: why, and what to do about it.

import { el, renew } from "./dom.js";
import { sign } from "./list.js";

const CONFIG = `forecaster:
  forecasts:
    - name: requests
      query: sum by (service) (rate(http_requests_total[5m]))
      step: 5m
      history: 14d
      horizons: [1h, 24h]`;

// For an overview without rows, or with none that are found.
export function nothing(overview, searching) {
  if (searching && overview.rows.length) return [el("p", {}, "No series has these words. "), el("p", {}, "The search looks at labels and their values: ", el("code", {}, "app=web"), ".")];
  if (!overview.forecasts.length) {
    return [
      el("h2", {}, "Nothing is forecast yet"),
      el("p", {}, "Say what to forecast in ", el("code", {}, "cloudpulse.yaml"), ": any PromQL expression."),
      el("pre", { tabindex: 0 }, el("code", {}, CONFIG)),
      el("p", {}, "Then restart the forecaster, or send it SIGHUP. ", el("code", {}, "cloudpulse check --online"), " says what a query finds."),
    ];
  }
  const wrong = overview.forecasts.filter(({ state }) => state !== "ok" && state !== "starting");
  if (wrong.length) {
    return [
      el("h2", {}, "No forecast can be made"),
      el("p", {}, "This is what stands in the way; it is tried again every few seconds:"),
      el("ul", {}, wrong.map(({ name, state }) => el("li", {}, el("strong", {}, name), ` ${state}`))),
      el("p", {}, "Is Prometheus up, and is ", el("code", {}, "prometheus.url"), " in cloudpulse.yaml right? ", el("code", {}, "cloudpulse check --online"), " asks it."),
    ];
  }
  return [
    el("h2", {}, "Reading the past"),
    el("p", {}, "The first forecasts follow as soon as the history of each query is read: usually within a minute. This page shows them by itself."),
    el("ul", {}, overview.forecasts.map(({ name, query }) => el("li", {}, el("strong", {}, name), " ", el("code", {}, query)))),
    el("p", {}, "A query that finds nothing in Prometheus forecasts nothing: try it there."),
  ];
}

// What isn't as it should be, while others are: one line for each forecast, which opens where its reason is longer.
export function troubles(element, forecasts) {
  const some = forecasts.filter(({ state }) => state !== "ok").map(({ name, state }) => [name, state]);
  renew(element, JSON.stringify(some), () => some.map(([name, state]) => {
    const starting = state === "starting";
    return el("details", { class: starting ? "starting" : "wrong" },
      el("summary", {}, sign(starting ? "unknown" : "poor"), el("strong", {}, name), ` ${starting ? "waits for enough history" : state}`));
  }));
}

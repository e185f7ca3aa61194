// One series' whole story: what is said of it, its chart, and how both follow the reader's switches.

import { accuracy, demotions, table, weights } from "./details.js";
import { makeChart, reading } from "./chart.js";
import { el, renew, say } from "./dom.js";
import { layers } from "./layers.js";
import { outlook } from "./list.js";
import { PASTS } from "./place.js";
import { queries } from "./promql.js";
import { moment, number, seconds, selector, spaced, time } from "./words.js";

const DAY = 86400; // seconds

// `on.change({past | earlier | models})`: a switch was used; `on.back()`: the reader wants the list; `on.told(text)`.
export function makeStory(box, on) {
  const parts = skeleton(on);
  const chart = makeChart(parts.canvas, {
    read(at, values) {
      const { when, parts: found } = reading(at, values, content.lines);
      parts.reading.replaceChildren(el("time", {}, when), ...found.flatMap(({ label, text }) => [el("span", {}, `${label} `, el("b", {}, text))]));
      const { from, to } = chart.range();
      const attributes = { "aria-valuemin": Math.round(from), "aria-valuemax": Math.round(to), "aria-valuenow": Math.round(at),
        "aria-valuetext": `${when}: ${found.map(({ label, text }) => `${label} ${text}`).join(", ")}` };
      for (const [name, value] of Object.entries(attributes)) parts.canvas.setAttribute(name, value);
    },
    zoom(zoomed) { parts.whole.hidden = !zoomed; },
  });
  let content = null, tabled = false, last = "";
  parts.whole.addEventListener("click", () => { chart.reset(); parts.canvas.focus(); });
  parts.canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: 12, PageDown: -12, Home: -1e9, End: 1e9 }[event.key];
    if (by && content) { event.preventDefault(); chart.step(event.shiftKey ? by * 12 : by); }
  });
  parts.table.addEventListener("toggle", () => { tabled = parts.table.open; if (content) numbers(); });

  function numbers() {
    if (!tabled) return;
    const body = parts.table.querySelector("div");
    body.replaceChildren(table(content));
  }

  // `story` as the forecaster tells it, `title` what tells the series apart, `wish` the reader's switches, `now` the forecaster's clock, `alerts` begun.
  function show(story, title, wish, now, alerts) {
    const { row } = story;
    if (!parts.root.isConnected) box.replaceChildren(parts.root);
    parts.root.classList.remove("other");
    say(parts.title, title);
    say(parts.of, row.forecast);
    say(parts.labels, selector(row.labels));
    say(parts.summary, summary(story, now));
    switches(parts, story, wish, on);
    content = { ...layers(story, wish, now), id: row.id, past: wish.past, thresholds: story.thresholds, alerts };
    parts.canvas.setAttribute("aria-label", `Chart of ${title}, ${row.forecast}. ${summary(story, now)}`);
    chart.draw(content);
    if (!parts.canvas.hasAttribute("aria-valuenow") || last !== row.id) chart.step(0);
    last = row.id;
    legend(parts.legend, content);
    parts.accuracy.replaceChildren(...accuracy(row));
    parts.weights.replaceChildren(...weights(story));
    const out = demotions(story, now);
    parts.demoted.hidden = !out.length;
    parts.demotedList.replaceChildren(...out);
    renew(parts.queries, JSON.stringify(story.promql), () => queries(story.promql, on.told));
    numbers();
  }

  return {
    show,
    // Why what is shown couldn't be renewed; "" where it could.
    stale: (text) => say(parts.stale, text),
    repaint: () => chart.repaint(),
    focus: () => parts.canvas.focus(),
    waiting(row, title) {
      if (last !== row.id) {
        last = "";
        parts.root.classList.add("other");
        say(parts.title, title);
        say(parts.of, row.forecast);
      }
      box.setAttribute("aria-busy", "true");
    },
    ready: () => box.removeAttribute("aria-busy"),
    gone(text) {
      last = "";
      box.replaceChildren(el("p", { class: "hint" }, text));
    },
  };
}

function skeleton(on) {
  const parts = {
    back: el("button", { type: "button", class: "back quiet", onclick: on.back }, "← All forecasts"),
    title: el("h2"), of: el("span", { class: "of" }), labels: el("code", { class: "labels" }), summary: el("p", { class: "summary" }),
    controls: el("div", { class: "controls" }),
    stale: el("p", { class: "stale", role: "status" }),
    reading: el("p", { class: "reading", "aria-hidden": "true" }),
    whole: el("button", { type: "button", class: "whole", hidden: true }, "Whole range"),
    canvas: el("div", { class: "chart", role: "slider", tabindex: 0, "aria-label": "Chart", "aria-valuenow": null, "aria-roledescription": "chart" }),
    legend: el("ul", { class: "legend", "aria-label": "Legend" }),
    table: el("details", { class: "as-table" }, el("summary", {}, "The numbers as a table"), el("div", { tabindex: 0, role: "region", "aria-label": "Numbers" })),
    accuracy: el("div"), weights: el("div"), demotedList: el("ul"), queries: el("ul", { class: "queries" }),
  };
  parts.demoted = el("section", { class: "card demoted", "aria-label": "Demoted models" }, el("h3", {}, "Demoted by measurement"), parts.demotedList);
  parts.root = el("article", { class: "story" },
    parts.back,
    el("header", {}, el("div", { class: "heading" }, parts.title, parts.of), parts.labels, parts.summary),
    parts.controls, parts.stale,
    el("div", { class: "stage" }, parts.reading, parts.whole, parts.canvas),
    parts.legend,
    parts.table,
    el("div", { class: "cards" },
      parts.demoted,
      el("section", { class: "card", "aria-label": "Accuracy" }, el("h3", {}, "How far to trust it"), parts.accuracy),
      el("section", { class: "card", "aria-label": "Models" }, el("h3", {}, "Who speaks"), parts.weights),
      el("section", { class: "card wide", "aria-label": "PromQL" }, el("h3", {}, "PromQL of what you see"), parts.queries)));
  return parts;
}

// The switches are made anew only when what there is to choose changes, so that focus stays where it is.
function switches(parts, story, wish, on) {
  const { step, levels } = story.ahead;
  const horizons = Object.keys(story.row.mase).filter((horizon) => seconds(horizon) >= step);
  const models = Object.keys(story.ahead.models);
  renew(parts.controls, JSON.stringify([Object.keys(levels).length, horizons, models]), () => [
    radios("past", "Back and ahead", PASTS.map((past) => [past, spaced(past)]), on),
    horizons.length ? radios("earlier", "As forecast before", [["", "off"], ...horizons.map((horizon) => [horizon, spaced(horizon)])], on) : null,
    models.length ? el("fieldset", { class: "models" }, el("legend", {}, "Single models"),
      models.map((model) => el("label", {}, el("input", { type: "checkbox", value: model, onchange: () => on.change({
        models: [...parts.controls.querySelectorAll(".models input:checked")].map(({ value }) => value).join(",") }) }), el("span", {}, model)))) : null,
  ].filter(Boolean));
  for (const input of parts.controls.querySelectorAll("input[type=radio]")) input.checked = wish[input.name] === input.value;
  for (const input of parts.controls.querySelectorAll("input[type=checkbox]")) input.checked = wish.models.includes(input.value);
}

function radios(name, legend, choices, on) {
  return el("fieldset", { class: "segments" }, el("legend", {}, legend), choices.map(([value, word]) =>
    el("label", {}, el("input", { type: "radio", name, value, onchange: () => on.change({ [name]: value }) }), el("span", {}, word))));
}

// What a glance at the chart tells, in sentences.
export function summary({ row, ahead, thresholds }, now) {
  const expected = row.expected["0.5"] ?? null;
  const sentences = [row.observed === null ? "There is no value now." : `Now ${number(row.observed)}${expected === null ? "" : `, expected ${number(expected)}`}.`];
  if (row.score !== null && row.score > 1) sentences.push("That is outside of what was expected.");
  const ranks = Object.keys(ahead.levels).sort((a, b) => a - b);
  for (const horizon of Object.keys(row.mase)) {
    const i = Math.round((now + seconds(horizon) - ahead.start) / ahead.step);
    const found = ranks.map((rank) => ahead.levels[rank][i]);
    const median = ahead.levels["0.5"]?.[i];
    if (found.some((value) => value === null || value === undefined)) continue;
    const band = ranks.length > 1 ? ` (${number(found[0])} to ${number(found.at(-1))})` : "";
    sentences.push(`In ${spaced(horizon)}: ${number(median ?? found[0])}${band}.`);
  }
  if (row.crossing) {
    const { seconds: left } = row.crossing;
    const state = outlook({ ...row, score: null }, thresholds, 0).word;
    sentences.push(left > 0 ? `Expected ${state}, at ${(left < DAY / 2 ? time : moment)(now + left)}.` : `It is ${state}.`);
  }
  return sentences.join(" ");
}

function legend(list, { lines, bands, odd, thresholds, alerts }) {
  const has = (kind) => lines.some((line) => line.kind === kind);
  const entries = [
    ["actual", "actual"],
    has("ahead-median") && ["ahead-median", "expected"],
    bands.some(([, , kind]) => kind === "ahead") && ["ahead-band", `band ${edges(lines, "ahead")}`],
    has("earlier-median") && ["earlier-median", "as forecast before"],
    bands.some(([, , kind]) => kind === "earlier") && ["earlier-band", `its band ${edges(lines, "earlier")}`],
    thresholds.length && ["threshold", "threshold"],
    odd.length && ["odd", `outside of the band (${odd.length})`],
    alerts.length && ["alert", `alert began (${alerts.length})`],
    ...lines.filter(({ kind }) => kind === "model").map(({ label }, i) => [`model-${(i % 6) + 1}`, label]),
  ].filter(Boolean);
  renew(list, JSON.stringify(entries), () => entries.map(([kind, word]) => el("li", {}, el("i", { class: `swatch ${kind}`, "aria-hidden": "true" }), word)));
}

function edges(lines, kind) {
  const levels = lines.filter((line) => line.kind === `${kind}-edge`).map(({ key }) => Number(key.split(" ")[1]));
  return `${Math.min(...levels)} to ${Math.max(...levels)}`;
}

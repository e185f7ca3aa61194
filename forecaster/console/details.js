// What stands below the chart: accuracy, the models and their weights, who was demoted and why, the numbers as a table.

import { el } from "./dom.js";
import { sign } from "./list.js";
import { moment, number, spaced, span, time, TRUST } from "./words.js";

const MOST_LINES = 25; // of the table: enough to hear the shape

export function accuracy(row) {
  const lines = Object.entries(row.mase).map(([horizon, error]) =>
    el("tr", {}, el("th", { scope: "row" }, `${spaced(horizon)} ahead`), el("td", {}, error === null ? "–" : `${number(error)} ×`), el("td", {}, judged(error))));
  return [
    el("p", { class: `verdict ${row.trust}` }, sign(row.trust), `Trust: ${TRUST[row.trust].word}`, el("span", { class: "why" }, `, ${TRUST[row.trust].why}`)),
    el("table", { class: "accuracy" },
      el("caption", {}, "Error beside that of repeating the past (MASE), measured live"),
      el("tbody", {}, lines)),
  ];
}

function judged(error) {
  if (error === null) return "not known yet";
  if (error >= 1) return `${Math.round((error - 1) * 100)} % worse`;
  return `${Math.round((1 - error) * 100)} % better`;
}

export function weights(story) {
  const shares = Object.entries(story.weights).filter(([, share]) => share !== null).sort(([, a], [, b]) => b - a);
  if (!shares.length) return [el("p", { class: "quiet-text" }, "No weights: a single model speaks.")];
  return [el("ul", { class: "weights" }, shares.map(([model, share]) => {
    const bar = el("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", share);
    return el("li", {}, el("span", { class: "model" }, model), bar, el("span", { class: "share" }, `${Math.round(share * 100)} %`));
  }))];
}

export function demotions(story, now) {
  return Object.entries(story.demoted).map(([model, { horizons, since, error_ratio: ratio, why }]) =>
    el("li", {},
      el("strong", {}, model), ` has no say ${horizons.map(spaced).join(", ")} ahead, since ${moment(since)} (${span(now - since)}): `,
      why || `its error was ${number(ratio)} times that of repeating the past`, "."));
}

// The picture as numbers: some moments of the past, some of the future.
export function table(content) {
  const line = (key) => content.lines.find((one) => one.key === key);
  const actual = line("actual");
  const edges = content.lines.filter(({ kind }) => kind === "ahead-edge");
  const columns = [...content.lines.filter(({ kind }) => kind === "ahead-median"), ...edges].sort((a, b) => level(a) - level(b));
  const past = thinned(actual.times.map((when, i) => [when, actual.values[i]]).filter(([when, value]) => value !== null && when >= content.from));
  const times = columns.length ? columns[0].times.map((when, i) => [when, i]).filter(([when]) => when <= content.to) : [];
  const rows = [
    ...past.map(([when, value]) => el("tr", {}, el("th", { scope: "row" }, moment(when)), el("td", {}, number(value)), columns.map(() => el("td", {}, "–")))),
    ...thinned(times).map(([when, i]) => el("tr", {}, el("th", { scope: "row" }, moment(when)), el("td", {}, "–"), columns.map(({ values }) => el("td", {}, number(values[i]))))),
  ];
  return el("table", { class: "numbers" },
    el("caption", {}, `What the chart shows, from ${moment(content.from)} to ${moment(content.to)}; now is ${time(content.now)}`),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Time"), el("th", { scope: "col" }, "Actual"), columns.map((one) => el("th", { scope: "col" }, one.label)))),
    el("tbody", {}, rows));
}

const level = ({ key }) => Number(key.split(" ")[1]);

const thinned = (list) => {
  const every = Math.max(1, Math.ceil(list.length / MOST_LINES));
  return list.filter((_, i) => i % every === 0 || i === list.length - 1);
};

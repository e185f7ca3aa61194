// PromQL to take along. Copies where the browser lets a page, and marks the text to be copied by hand where it doesn't.

import { el } from "./dom.js";

const TITLES = {
  source: "The series itself",
  value: "What is forecast, by horizon and level",
  curve: "The whole future (remote read or the forecaster's query API)",
  score: "How odd it is: 1 is the band's edge",
};

// `told(text)`: what became of it, for a screen reader.
export function queries(promql, told) {
  return Object.entries(TITLES).filter(([key]) => promql[key]).map(([key, title]) => {
    const code = el("code", { tabindex: 0 }, promql[key]);
    const button = el("button", { type: "button", "aria-label": `Copy: ${title}` }, "Copy");
    button.addEventListener("click", async () => {
      const done = await copied(code);
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      told(done ? "copied" : "the query is selected, press Ctrl+C to copy it");
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    return el("li", {}, el("span", { class: "title" }, title), el("span", { class: "query" }, code, button));
  });
}

async function copied(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch { /* no permission, or no clipboard on plain HTTP: the older way */ }
  getSelection().selectAllChildren(code);
  const done = document.execCommand("copy");
  if (done) getSelection().removeAllRanges();
  return done;
}

// The list: a listbox of which only what is seen is in the page, so that thousands of series cost as much as ten.

import { el, say, set } from "./dom.js";
import { odd } from "./rows.js";
import { spark } from "./spark.js";
import { number, span, TRUST } from "./words.js";

const BEYOND = 6; // rows kept above and below what is seen

// `on.choose(row)`: chosen by arrow or click; `on.open(row)`: by Enter or click, to go and look at.
export function makeList(box, on) {
  const sheet = el("div", { class: "sheet", role: "presentation" });
  box.append(sheet);
  let items = [], selected = null, elapsed = 0, height = 0;
  const drawn = new Map(); // index -> element

  const index = () => items.findIndex(({ row }) => row.id === selected);
  const rowHeight = () => (height ||= parseFloat(getComputedStyle(box).getPropertyValue("--row")) || 60);

  // Elements stay where they are and only what they show is changed: a click that a new forecast comes into is a click.
  function draw() {
    const first = Math.max(0, Math.floor(box.scrollTop / rowHeight()) - BEYOND);
    const last = Math.min(items.length, Math.ceil((box.scrollTop + box.clientHeight) / rowHeight()) + BEYOND);
    for (const [i, element] of drawn) {
      if (i < first || i >= last) { element.remove(); drawn.delete(i); }
    }
    for (let i = first; i < last; i += 1) {
      if (!drawn.has(i)) {
        drawn.set(i, el("div", { class: "row", role: "option" }));
        drawn.get(i).style.transform = `translateY(${i * rowHeight()}px)`;
        sheet.append(drawn.get(i));
      }
      fill(drawn.get(i), items[i], elapsed);
      const attributes = { "aria-posinset": i + 1, "aria-setsize": items.length, "aria-selected": items[i].row.id === selected };
      for (const [name, value] of Object.entries(attributes)) set(drawn.get(i), name, value);
    }
    const active = drawn.get(index());
    if (active) set(box, "aria-activedescendant", active.id);
    else box.removeAttribute("aria-activedescendant");
  }

  function redraw() {
    sheet.style.height = `${items.length * rowHeight()}px`;
    draw();
  }

  function reveal() {
    const [top, i] = [box.scrollTop, index()];
    if (i < 0) return;
    const above = i * rowHeight(), below = above + rowHeight() - box.clientHeight;
    box.scrollTop = Math.min(above, Math.max(below, top));
  }

  function go(to) {
    if (!items.length) return;
    const { row } = items[Math.max(0, Math.min(items.length - 1, to))];
    select(row.id);
    on.choose(row);
  }

  function select(id) {
    selected = id;
    reveal();
    draw();
  }

  box.addEventListener("scroll", draw, { passive: true });
  new ResizeObserver(() => { height = 0; for (const element of drawn.values()) element.remove(); drawn.clear(); redraw(); }).observe(box);
  box.addEventListener("click", (event) => {
    const element = event.target.closest("[role=option]");
    const place = [...drawn].find(([, one]) => one === element);
    if (place) { go(place[0]); on.open(items[place[0]].row); }
  });
  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(box.clientHeight / rowHeight()) - 1);
    const i = index();
    const moves = { ArrowDown: i + 1, ArrowUp: i - 1, PageDown: i + page, PageUp: i - page, Home: 0, End: items.length - 1 };
    if (event.key in moves) { event.preventDefault(); go(moves[event.key]); }
    else if (event.key === "Enter" && i >= 0) { event.preventDefault(); on.open(items[i].row); }
  });

  return {
    // `seconds` since the data were made: what is left until a crossing is less by that.
    show(next, seconds) { items = next; elapsed = seconds; redraw(); },
    select,
    first: () => items[0]?.row,
  };
}

// One row. A screen reader hears it as one sentence, with words that the eye doesn't need.
function fill(element, { row, title, thresholds }, elapsed) {
  const state = outlook(row, thresholds, elapsed);
  const shown = JSON.stringify([row, title, state]);
  if (shows.get(element) === shown) return;
  shows.set(element, shown);
  element.id = `row-${row.id}`;
  element.replaceChildren(
    el("span", { class: "name" }, title),
    spark(row.spark),
    el("span", { class: "value" }, heard(" now "), number(row.observed), heard(" ")),
    el("span", { class: "line" },
      el("span", { class: "of" }, row.forecast),
      el("span", { class: `outlook ${state.kind}` }, heard(" "), sign(state.kind), state.word, heard(" ")),
      el("span", { class: `trust ${row.trust}` }, sign(row.trust), el("span", { class: "what" }, "trust "), TRUST[row.trust].word)));
}

const shows = new WeakMap(); // element -> what it shows

// The most urgent thing to say of a row: odd now, or about to cross, or nothing. `elapsed` seconds since it was made.
export function outlook(row, thresholds, elapsed) {
  if (odd(row)) return { kind: "odd", word: "odd now" };
  if (row.crossing) return { kind: "crossing", word: crossing(row, thresholds, elapsed) };
  return row.observed === null ? { kind: "absent", word: "no value now" } : { kind: "calm", word: row.score === null ? "" : "as expected" };
}

function crossing({ observed, crossing: { threshold, seconds } }, thresholds, elapsed) {
  const falling = thresholds.find(({ value }) => value === threshold)?.direction === "down";
  const there = `${falling ? "below" : "above"} ${number(threshold)}`;
  if (seconds > elapsed) return `${there} in ${span(seconds - elapsed)}`;
  return observed !== null && (falling ? observed <= threshold : observed >= threshold) ? `${there} now` : `${there} about now`;
}

const heard = (text) => (text ? el("span", { class: "unseen" }, text) : null);

// A shape for each verdict, so that colour is never all there is; drawn by the style sheet.
export const sign = (kind) => el("i", { class: `mark ${kind}`, "aria-hidden": "true" });

export function count(element, shown, all) {
  say(element, shown === all ? `${all} series` : `${shown} of ${all} series`);
}

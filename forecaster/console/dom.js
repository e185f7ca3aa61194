// Building the page. All text goes through textContent: a label is never markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

// el("p", {class: "x", hidden: true, onclick: f}, "text", child): attributes, listeners, children (strings are text).
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// Text that changes often: nothing is touched, nor told by a screen reader, while it stays the same.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// An attribute that changes often, likewise.
export function set(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

// What is shown is made anew only when `key` changes, so that focus and what is open stay as they are.
export function renew(element, key, make) {
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  element.replaceChildren(...make());
}

// At most one call of `work` in `wait` milliseconds: the first at once, the last never lost.
export function throttled(work, wait) {
  let timer = null, again = false;
  const run = () => {
    again = false;
    timer = setTimeout(() => { timer = null; if (again) run(); }, wait);
    work();
  };
  return () => { if (timer === null) run(); else again = true; };
}

// The stream of what happens: connected as long as somebody looks, again by itself after a break.

import { streamAddress } from "./api.js";

const FIRST = 500, LONGEST = 15000; // milliseconds between tries
const HIDDEN = 5000; // a glance at another tab interrupts nothing
const SILENT = 10000; // a try that isn't answered is given up

// `on.state(word, seconds)`: "connecting", "live", "reconnecting" (with the seconds until the next try), "paused";
// `on.open()`: from here on nothing is missed, and everything before has to be fetched; `on.message(event)`.
export function follow(on) {
  let socket = null, timer = null, hiding = null, tries = 0;

  function connect() {
    clearTimeout(timer);
    on.state(tries ? "reconnecting" : "connecting");
    const mine = socket = new WebSocket(streamAddress(), ["cloudpulse.v1"]);
    timer = setTimeout(() => mine.close(), SILENT);
    mine.onopen = () => {
      if (mine !== socket) return;
      clearTimeout(timer);
      tries = 0;
      on.state("live");
      on.open();
    };
    mine.onmessage = (message) => { if (mine === socket) on.message(JSON.parse(message.data)); };
    mine.onclose = () => { if (mine === socket) again(); };
  }

  function again() {
    clearTimeout(timer);
    const wait = Math.min(LONGEST, FIRST * 2 ** tries) * (0.5 + Math.random() / 2); // not all pages at the same time
    tries += 1;
    on.state("reconnecting", wait / 1000);
    timer = setTimeout(connect, wait);
  }

  function pause() {
    clearTimeout(timer);
    const last = socket;
    socket = null;
    if (last) last.close();
    on.state("paused");
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(pause, HIDDEN);
    else if (socket === null) { tries = 0; connect(); }
  });
  addEventListener("online", () => { if (socket && socket.readyState !== WebSocket.OPEN) { tries = 0; connect(); } });
  connect();
}

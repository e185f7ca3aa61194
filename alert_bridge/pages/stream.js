// Shows the events of /api/v1/stream as they come. What alerts say is only ever text: textContent, never markup.
"use strict";

const ROWS = 200;
const events = document.getElementById("events");
const state = document.getElementById("state");
const access = document.getElementById("access");
const key = document.getElementById("key");
let last = null; // the id of the newest event shown: where to go on after a break
let wait = 1;

const named = (labels) => Object.entries(labels || {}).map(([name, value]) => `${name}=${value}`).join(" ");

function rows(event) {
  if (event.kind === "alerts") {
    return event.alerts.map((alert) =>
      [alert.status, alert.labels.alertname || alert.fingerprint,
        alert.annotations.summary || alert.annotations.description || named(alert.labels)]);
  }
  if (event.receiver) {
    const what = `${(event.labels || {}).alertname || named(event.labels)} ${event.status || ""} to ${event.receiver}`;
    return [[event.kind, what, event.error || ""]];
  }
  return [[event.kind, event.fingerprint || event.reason || "", event.by ? `by ${event.by}` : ""]];
}

function show(event) {
  for (const [kind, what, more] of rows(event)) {
    const row = events.insertRow(0);
    row.className = kind;
    for (const text of [new Date(event.at).toLocaleTimeString(), kind, what, more]) {
      row.insertCell().textContent = text;
    }
  }
  while (events.rows.length > ROWS) events.deleteRow(-1);
}

function connect() {
  const wish = new URLSearchParams(location.search);
  if (last === null) wish.set("last", "50");
  else wish.set("after", last);
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const names = ["cloudpulse.v1", ...(key.value ? [`cloudpulse.key.${key.value}`] : [])];
  const socket = new WebSocket(`${scheme}//${location.host}/api/v1/stream?${wish}`, names);
  let opened = false;
  socket.onopen = () => { opened = true; wait = 1; access.hidden = true; state.textContent = "connected"; };
  socket.onmessage = (message) => {
    const event = JSON.parse(message.data);
    last = event.id;
    if (event.kind !== "hello") show(event);
  };
  socket.onclose = (closed) => {
    access.hidden = opened; // a browser doesn't say why it wasn't let in
    state.textContent = closed.reason || `not connected, next try in ${wait} s`;
    setTimeout(connect, wait * 1000);
    wait = Math.min(2 * wait, 30);
  };
}

access.onsubmit = (submitted) => { submitted.preventDefault(); wait = 1; };
connect();

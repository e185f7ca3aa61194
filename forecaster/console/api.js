// The forecaster's JSON. Addresses are relative to the page, so that it may lie below a proxy's prefix.

const PATIENCE = 15000; // milliseconds until a server that says nothing counts as away
const SIGN_IN = [401, 403];

export const overview = (signal) => get("api/v1/overview", signal);

export const series = (row, past, signal) =>
  get(`api/v1/forecasts/${encodeURIComponent(row.forecast)}/series/${encodeURIComponent(row.id)}?past=${past}`, signal);

export function streamAddress() {
  const address = new URL("api/v1/stream", document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  return address;
}

// The forecaster's clock, by what its last answer said: the browser's own may be wrong.
let ahead = 0; // milliseconds
export const now = () => (Date.now() + ahead) / 1000;

// Throws Error with a text for people; `gone` is true where the server answered that this isn't there (any more).
async function get(path, signal) {
  const late = AbortSignal.timeout(PATIENCE);
  const answer = await fetch(new URL(path, document.baseURI), { signal: signal ? AbortSignal.any([signal, late]) : late })
    .catch((error) => { throw worded(error); });
  const date = Date.parse(answer.headers.get("Date"));
  // To the second, and a moment under way: less than two seconds off is no difference.
  if (date && Math.abs(date - Date.now()) > 2000) ahead = date - Date.now();
  else if (date) ahead = 0;
  const said = await answer.json().catch((error) => {
    if (error.name === "SyntaxError") return null; // a page, of a proxy perhaps
    throw worded(error);
  });
  if (answer.ok && said !== null) return said;
  const error = new Error(said?.error || (SIGN_IN.includes(answer.status) || answer.ok ? "it wants you to sign in: load this page anew" : `it answered ${answer.status}`));
  error.gone = answer.status === 404 && said !== null;
  throw error;
}

function worded(error) {
  if (error.name === "AbortError") return error;
  return new Error(error.name === "TimeoutError" ? "it doesn't answer" : "it can't be reached");
}

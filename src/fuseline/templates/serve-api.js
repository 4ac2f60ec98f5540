// The server that this page came from. All addresses are relative to the page, so that it works behind any path.
const Api = (() => {
  "use strict";
  const base = location.pathname.endsWith("/") ? location.pathname : `${location.pathname}/`;
  const KEY = `fuseline key of ${base}`; // in this tab only, and gone with it
  let key = null;
  try {
    key = sessionStorage.getItem(KEY);
  } catch {
    // a browser that keeps nothing: the key lasts as long as the page
  }

  // An answer that is none: the problem details, or that the server cannot be reached (status 0).
  class Problem extends Error {
    constructor(status, document, wait) {
      super(document.detail ?? document.title ?? `The server answered ${status}.`);
      this.status = status;
      this.document = document;
      this.wait = wait; // seconds until it may be tried again
    }
  }

  function use(given) {
    key = given;
    try {
      if (given === null) sessionStorage.removeItem(KEY);
      else sessionStorage.setItem(KEY, given);
    } catch {
      // as above
    }
  }

  const address = path => new URL(base + path, location.origin).href;

  function said(text) {
    try {
      const found = JSON.parse(text);
      return found !== null && typeof found === "object" ? found : {};
    } catch {
      return {};
    }
  }

  // The answer of the server. Raises Problem; AbortError where `signal` says stop.
  async function ask(path, options = {}) {
    const headers = { ...options.headers };
    if (key !== null) headers.Authorization = `Bearer ${key}`;
    let reply;
    try {
      reply = await fetch(address(path), { cache: "no-store", credentials: "same-origin", ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, { title: "The server cannot be reached", detail: "The server cannot be reached." }, 5);
    }
    if (reply.ok) return reply;
    const wait = Number.parseFloat(reply.headers.get("Retry-After") ?? "");
    const document = said(await reply.text().catch(() => ""));
    throw new Problem(reply.status, document, Number.isFinite(wait) ? Math.max(wait, 0) : null);
  }

  // The JSON of an answer. Raises Problem where it is none: somebody else answered, e.g. the sign-in of a proxy.
  async function read(reply) {
    const text = await reply.text();
    try {
      return JSON.parse(text);
    } catch {
      const detail = `What answers at ${reply.url} is not Fuseline. Load this page again.`;
      throw new Problem(reply.status, { title: "The answer is not JSON", detail }, null);
    }
  }

  const post = (path, body, type = "application/json", signal = undefined) => (
    ask(path, { method: "POST", body, signal, headers: type === null ? {} : { "Content-Type": type } }));

  return { Problem, address, ask, read, post, use, get key() { return key; } };
})();

// Shows the document of the API with Swagger UI, from this server's own files.
(() => {
  "use strict";
  const base = location.pathname.replace(/\/?docs\/?$/, "/");
  const KEY = `fuseline key of ${base}`; // the same as on the page of the model
  const said = document.getElementById("said"), unlock = document.getElementById("unlock");
  let key = null;
  try {
    key = sessionStorage.getItem(KEY);
  } catch {
    // a browser that keeps nothing
  }

  function tell(text) {
    said.textContent = text;
    said.hidden = !text;
  }

  // Swagger UI of this version reads OpenAPI 3.0: what 3.1 says in another way is said in the old one. For people only.
  function older(part) {
    if (Array.isArray(part)) return part.map(older);
    if (part === null || typeof part !== "object") return part;
    const parts = Object.entries(part).map(([name, inside]) => [name, older(inside)]);
    const { type, anyOf, examples, ...rest } = Object.fromEntries(parts);
    if (Array.isArray(anyOf)) {
      const kinds = anyOf.filter(one => one.type !== "null");
      if (kinds.length < anyOf.length) rest.nullable = true;
      rest.anyOf = kinds;
    } else if (anyOf !== undefined) rest.anyOf = anyOf;
    if (Array.isArray(type)) {
      const kinds = type.filter(one => one !== "null");
      if (kinds.length < type.length) rest.nullable = true;
      if (kinds.length === 1) [rest.type] = kinds;
    } else if (type !== undefined) rest.type = type;
    if (Array.isArray(examples)) [rest.example] = examples;
    else if (examples !== undefined) rest.examples = examples;
    return rest;
  }

  async function show() {
    if (typeof SwaggerUIBundle === "undefined") {
      return tell("Swagger UI is not installed: pip install 'fuseline[serve]'. The document is at openapi.json.");
    }
    const headers = key === null ? {} : { Authorization: `Bearer ${key}` };
    let reply;
    try {
      reply = await fetch(`${base}openapi.json`, { headers, cache: "no-store" });
    } catch {
      return tell("The server cannot be reached. Load this page again when it runs.");
    }
    unlock.hidden = reply.status !== 401;
    if (reply.status === 401 || key !== null) document.getElementById("raw").hidden = true; // a link takes no key along
    if (reply.status === 401) return tell(key === null ? "" : "The server does not take this key.");
    if (!reply.ok) return tell(`The document cannot be had: the server answered ${reply.status}.`);
    const spec = { ...older(await reply.json()), openapi: "3.0.3", servers: [{ url: base.replace(/\/$/, "") || "/" }] };
    SwaggerUIBundle({
      spec,
      domNode: document.getElementById("docs"),
      validatorUrl: null,
      deepLinking: true,
      requestInterceptor: request => {
        const here = new URL(request.url, location.href).origin === location.origin;
        if (key !== null && here) request.headers.Authorization ??= `Bearer ${key}`;
        return request;
      },
    });
    return tell("");
  }

  unlock.addEventListener("submit", event => {
    event.preventDefault();
    key = document.getElementById("key").value.trim();
    try {
      sessionStorage.setItem(KEY, key);
    } catch {
      // as above
    }
    show();
  });
  show();
})();

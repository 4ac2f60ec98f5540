// Elements, figures and tables. Whatever comes from outside is text here, never markup.
const Dom = (() => {
  "use strict";
  const id = name => document.getElementById(name);

  const there = part => part !== null && part !== undefined && part !== false && part !== "";

  // An element: properties by name, `aria-…` and `data-…` as attributes, then what is in it.
  function el(tag, properties = {}, ...inside) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name.includes("-") || name === "for" || name === "list" || name === "role") made.setAttribute(name, value);
      else made[name] = value;
    }
    made.append(...inside.filter(there));
    return made;
  }

  // Text in place of what an element holds; hidden if there is none.
  function tell(element, ...inside) {
    const parts = inside.filter(there);
    element.replaceChildren(...parts);
    element.hidden = !parts.length;
  }

  const count = (many, noun) => `${many.toLocaleString("en")} ${noun}${many === 1 ? "" : "s"}`;
  const list = names => (
    names.length > 6 ? `${names.slice(0, 6).join(", ")} and ${names.length - 6} more` : names.join(", "));

  // A whole sentence of what a server says.
  const sentence = text => (text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?…]$/.test(text) ? "" : "."}` : "");

  // A name that may be broken where people would break it.
  const broken = name => name.split(/(?<=[_.\-/])/).flatMap(part => [part, el("wbr")]);

  // A value for people: six significant digits, nothing as a dash.
  function figure(value, digits = 6) {
    if (value === null || value === undefined) return "—";
    if (typeof value === "object") return JSON.stringify(value);
    if (typeof value !== "number" || Number.isInteger(value)) return String(value);
    const size = Math.abs(value);
    if (size < 1e-4 || size >= 1e15) return value.toPrecision(4);
    return size >= 10 ** digits ? String(Math.round(value)) : String(Number(value.toPrecision(digits)));
  }

  function duration(milliseconds) {
    if (milliseconds < 9.5) return `${milliseconds.toFixed(1)} ms`;
    return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
  }

  function td(value) {
    const number = typeof value === "number", text = figure(value);
    const made = el("td", { className: number ? "right" : value === null || value === undefined ? "soft" : "" }, text);
    if (number && text !== String(value)) made.title = String(value);
    return made;
  }

  // A table of rows that are lists of values.
  function table(caption, names, rows) {
    const isNumeric = c => rows.length > 0 && rows.every(row => typeof row[c] === "number" || row[c] === null);
    const numeric = names.map((_, c) => isNumeric(c));
    const head = names.map((name, c) => el("th", { scope: "col", className: numeric[c] ? "right" : "" }, name));
    return el("table", { className: "rows" },
      el("caption", { className: "hidden" }, caption),
      el("thead", {}, el("tr", {}, ...head)),
      el("tbody", {}, ...rows.map(row => el("tr", {}, ...row.map(td)))));
  }

  // A table in a frame of its own, that can be moved by keys.
  const framed = (label, inside) => (
    el("div", { className: "frame-rows", tabIndex: 0, role: "region", "aria-label": label }, inside));

  // One row as a table: a name and its value in each line.
  function pairs(caption, entries) {
    const lines = entries.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), td(value)));
    return el("table", { className: "pairs" },
      el("caption", { className: "hidden" }, caption), el("tbody", {}, ...lines));
  }

  function save(name, parts, type) {
    const address = URL.createObjectURL(new Blob(parts, { type }));
    el("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }

  // Copies what an element shows. Browsers have a clipboard on safe addresses only; elsewhere the selection is copied.
  async function copy(element) {
    try {
      await navigator.clipboard.writeText(element.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(element);
      return document.execCommand("copy");
    }
  }

  return { id, el, tell, count, list, sentence, broken, figure, duration, table, framed, pairs, save, copy };
})();

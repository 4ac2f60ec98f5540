// The fields of one row, made from the columns that the model was trained on.
const Form = (() => {
  "use strict";
  const { el, tell, broken, figure } = Dom;
  const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i;
  let made = 0;

  // ── controls: an element, `get` and `set` of its value; `strange` says why a value is unusual ──────────────────

  function typed(column, id) {
    const number = column.kind === "number";
    const input = el("input", { id, type: "text", autocomplete: "off", spellcheck: false, placeholder: "blank" });
    if (number && column.low >= 0) input.inputMode = "decimal"; // the keys of phones for decimals have no minus
    const numeric = number || typeof column.default === "number";
    const get = () => {
      const text = input.value.trim();
      if (text === "") return null;
      const value = Number(text), exact = number || String(value) === text; // a long id is no number
      return numeric && exact && NUMBER.test(text) && Number.isFinite(value) ? value : input.value;
    };
    const set = value => {
      const deep = value !== null && typeof value === "object";
      input.value = deep ? JSON.stringify(value) : String(value ?? "");
    };
    const strange = () => {
      const value = get(), ranged = number && column.low !== null && typeof value === "number";
      return ranged && (value < column.low || value > column.high) ? "Unusual" : "";
    };
    return { element: input, focus: input, get, set, strange };
  }

  function dated(column, id) {
    const days = [column.low, column.high, ...column.examples].every(text => text === null || text.length === 10);
    const input = el("input", { id, type: days ? "date" : "datetime-local", step: days ? "" : "1" });
    const get = () => input.value || null;
    const set = value => { input.value = String(value ?? "").slice(0, days ? 10 : 19); };
    const strange = () => {
      const at = Date.parse(input.value);
      return column.low !== null && (at < Date.parse(column.low) || at > Date.parse(column.high)) ? "Unusual" : "";
    };
    const wrong = () => (input.validity.badInput ? "This is no whole date: complete it or clear it." : "");
    return { element: input, focus: input, get, set, strange, wrong };
  }

  // A list to choose from, with nothing and, for text, any other value.
  function chosen(column, id, values) {
    const free = column.kind === "text";
    const nothing = el("option", {}, "blank"), other = el("option", {}, "another value …");
    const options = values.map(value => el("option", {}, String(value)));
    const select = el("select", { id }, nothing, ...options, ...(free ? [other] : []));
    const label = `another value of ${column.name}`;
    const input = el("input", { type: "text", autocomplete: "off", spellcheck: false, "aria-label": label });
    input.hidden = true;
    const isOther = () => select.selectedOptions[0] === other;
    const get = () => {
      if (isOther()) return input.value === "" ? null : input.value;
      return select.selectedIndex === 0 ? null : values[select.selectedIndex - 1];
    };
    const set = value => {
      const at = values.indexOf(value);
      const unknown = at < 0 && value !== null && value !== undefined;
      select.selectedIndex = unknown && free ? options.length + 1 : at + 1;
      input.value = unknown ? String(value) : "";
      input.hidden = !isOther();
    };
    select.addEventListener("change", () => {
      input.hidden = !isOther();
      if (isOther()) input.focus();
    });
    const strange = () => (
      isOther() && input.value !== "" && !values.includes(input.value) ? "Not seen in training" : "");
    return { element: el("div", { className: "chosen" }, select, input), focus: select, get, set, strange };
  }

  function control(column, id) {
    if (column.kind === "boolean") return chosen(column, id, [true, false]);
    if (column.kind === "datetime") return dated(column, id);
    const levels = column.kind === "text" && column.levels ? column.levels.filter(level => level.trim() !== "") : [];
    return levels.length ? chosen(column, id, levels) : typed(column, id);
  }

  // A bound for people; a moment does not break over two lines.
  const short = value => (typeof value === "string"
    ? value.replace("T", "\u00a0").replace(/^(.{16}):00$/, "$1").replaceAll("-", "\u2011") : figure(value, 4));

  function usual(column) {
    if (column.kind === "beside") return "names the row, or looks up others";
    if (column.kind === "boolean") return "";
    if (column.low !== null) {
      const zone = column.low.length > 10 ? " UTC" : "";
      return `seen: ${short(column.low)} to ${short(column.high)}${zone}`;
    }
    const { levels, levels_left_out: out } = column;
    if (levels) return out ? `the first ${levels.length} of ${levels.length + out} values` : "";
    return column.kind === "text" && column.examples.length ? `e.g. ${String(column.examples[0]).slice(0, 40)}` : "";
  }

  // ── fields ────────────────────────────────────────────────────────────────────────────────────────────────────

  function field(column, changed) {
    const id = `field-${++made}`, holds = control(column, id), told = usual(column);
    const hint = el("p", { id: `${id}-hint`, className: "hint" }, told);
    const fault = el("p", { id: `${id}-fault`, className: "fault", hidden: true });
    const label = el("label", { for: id }, ...broken(column.name));
    const element = el("div", { className: "field" }, label, holds.element, hint, fault);
    holds.focus.setAttribute("aria-describedby", `${hint.id} ${fault.id}`);
    const look = () => {
      const strange = holds.strange();
      hint.textContent = strange && told ? `${strange} (${told})` : strange || told;
      hint.classList.toggle("warn", strange !== "");
    };
    const complain = reason => {
      tell(fault, reason);
      element.classList.toggle("faulty", reason !== "");
      if (reason) holds.focus.setAttribute("aria-invalid", "true");
      else holds.focus.removeAttribute("aria-invalid");
    };
    element.addEventListener("input", () => { complain(""); look(); changed(); });
    const set = value => { holds.set(value); complain(""); look(); };
    const wrong = holds.wrong ?? (() => "");
    return { column, element, get: holds.get, set, complain, wrong, focus: () => holds.focus.focus() };
  }

  /* The fields of all columns, in `host`; `changed` is called whenever a value is.
     An example may hold more than the columns: what names the row, or what others are looked up by. */
  function make(host, columns, example, changed) {
    const known = new Set(columns.map(column => column.name));
    const beside = Object.keys(example).filter(name => !known.has(name)).map(name => (
      { name, kind: "beside", levels: null, low: null, high: null, examples: [], default: example[name] }));
    const fields = [...columns, ...beside].map(column => field(column, changed));
    const named = new Map(fields.map(one => [one.column.name, one]));
    host.replaceChildren(...fields.map(one => one.element));

    const record = () => Object.fromEntries(fields.map(one => [one.column.name, one.get()]));
    const fill = values => { for (const one of fields) one.set(values[one.column.name] ?? null); changed(); };
    const examples = () => fill(Object.fromEntries(fields.map(one => [one.column.name, one.column.default])));
    const filter = text => {
      const wanted = text.trim().toLowerCase();
      for (const one of fields) one.element.hidden = !one.column.name.toLowerCase().includes(wanted);
      return fields.filter(one => !one.element.hidden).length;
    };
    const clean = () => { for (const one of fields) one.complain(""); };

    // Shows each fault at its field, and returns those that have none. The first field that has one gets the focus.
    function complain(faults) {
      clean();
      const homeless = faults.filter(fault => !named.has(fault.column));
      for (const fault of faults) named.get(fault.column)?.complain(fault.reason);
      const first = fields.find(one => one.element.classList.contains("faulty"));
      if (first) {
        for (const one of fields) if (one.element.classList.contains("faulty")) one.element.hidden = false;
        first.focus();
      }
      return homeless;
    }

    // What the page itself can tell to be wrong.
    const wrong = () => (
      fields.map(one => ({ column: one.column.name, reason: one.wrong() })).filter(fault => fault.reason));
    return { size: fields.length, record, fill, examples, clear: () => fill({}), filter, clean, complain, wrong };
  }

  return { make };
})();

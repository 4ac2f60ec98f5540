// Many rows: reads a file, has its records sent, and shows what came of them.
const Many = (() => {
  "use strict";
  const { id, el, tell, count, list, duration, sentence } = Dom;
  const LARGEST = 256; // MiB of a file
  const SHOWN = 200; // rows of a table
  const spelt = many => many.toLocaleString("en");
  let file = null, sending = null;

  // ── a file ────────────────────────────────────────────────────────────────────────────────────────────────────

  function fault(text) {
    tell(id("sent"), el("p", { className: "fault" }, text));
  }

  /* Reads a file and sends it. `page` has what the rest of the page knows: `model()`, `threshold()` (undefined where
     it is no number) and `look()`, to see anew who answers. */
  async function read(chosen, page) {
    if (!chosen || sending) return;
    tell(id("outcome"));
    file = null;
    if (chosen.size > LARGEST * 2 ** 20) {
      const size = Math.round(chosen.size / 2 ** 20);
      fault(`${chosen.name} has ${size} MiB: a browser takes up to ${LARGEST} MiB. Score it as a batch.`);
      return;
    }
    tell(id("sent"), el("p", { className: "soft" }, `${chosen.name} is being read.`));
    await new Promise(done => setTimeout(done, 20)); // so that this is seen
    try {
      file = { name: chosen.name, ...Rows.parse(new Uint8Array(await chosen.arrayBuffer())) };
    } catch (error) {
      const known = [Rows.Unreadable, DOMException, RangeError].some(kind => error instanceof kind);
      if (!known) throw error;
      fault(`${chosen.name} cannot be read. ${error.message}`);
      return;
    }
    await send(page);
  }

  // Which columns of the model the file has, in words.
  function matched(columns) {
    const here = new Set(file.names), missing = columns.filter(name => !here.has(name));
    const has = `${columns.length - missing.length} of the model's ${count(columns.length, "column")}`;
    return missing.length ? `${has}. Not in the file, and so blank: ${list(missing)}` : has;
  }

  async function send(page) {
    const threshold = page.threshold(), model = page.model(), columns = model.columns.map(column => column.name);
    if (!file || sending || threshold === undefined) return;
    const again = el("button", { type: "button", className: "link" }, "Send again");
    again.addEventListener("click", () => send(page));
    tell(id("outcome"));
    if (!columns.some(name => file.names.includes(name))) {
      const both = `The file has ${list(file.names)}; the model takes ${list(columns)}.`;
      fault(`No column of the file is one of the model's. ${both}`);
      return;
    }
    const size = count(file.records.length, "row");
    tell(id("sent"),
      el("p", { className: "break" },
        el("b", {}, file.name), `: ${file.format}, ${size}, ${matched(columns)}. `, again),
      file.note && el("p", { className: "warn small" }, file.note));
    sending = new AbortController();
    id("sending").hidden = false;
    const began = performance.now();
    const progress = (done, why) => {
      id("progress").value = done.sent / file.records.length;
      tell(id("progress-said"), [`${spelt(done.sent)} of ${size}`, why].filter(Boolean).join("; "));
    };
    try {
      const done = await Send.all(file, model.limits, threshold, sending.signal, progress);
      show(model, done, threshold ?? model.threshold, performance.now() - began);
      if ([401, 503].includes(done.stopped?.status)) page.look();
    } catch (error) {
      if (error.name !== "AbortError") throw error;
      tell(id("outcome"), el("p", {}, "Stopped. Nothing of it is kept."));
    } finally {
      sending = null;
      id("sending").hidden = true;
      tell(id("progress-said"));
      id("progress").value = 0;
    }
  }

  const stop = () => sending?.abort();

  // ── what came of it ───────────────────────────────────────────────────────────────────────────────────────────

  function show(model, done, threshold, took) {
    const bad = new Set(done.rejected.map(one => one.row)).size, scored = done.sent - bad;
    const below = scored - done.answered.length;
    const parts = [
      `${count(scored, "row")} scored`,
      below > 0 && `${spelt(below)} below the threshold${threshold === null ? "" : ` of ${threshold}`}`,
      bad > 0 && `${spelt(bad)} rejected`,
      done.versions.join(" and "),
      duration(took),
    ];
    const stopped = done.stopped && `Stopped after row ${spelt(done.reached)} of ${spelt(file.records.length)}.`;
    const name = `${file.name.replace(/\.[^.]*$/, "")}-${done.versions[0] ?? model.version}`;
    tell(id("outcome"),
      el("p", { className: "sum" }, parts.filter(Boolean).join(" · ")),
      stopped && el("p", { className: "fault" }, `${stopped} ${sentence(done.stopped.message)}`),
      ...[...done.notes].map(note => el("p", { className: "warn small" }, `Fallback. ${sentence(note)}`)),
      done.extra.size > 0 && el("p", { className: "soft small" }, `Not used: ${list([...done.extra])}`),
      done.answered.length > 0 && predictions(model, done, name),
      done.rejected.length > 0 && rejected(done, bad, name));
  }

  // One table of the outcome, with a button to have all of it; `make` gives the names and the rows of the file for it.
  function part(title, said, table, name, make, ...beside) {
    const button = el("button", { type: "button", className: "plain-button" }, "Download as CSV");
    const from = file; // another one may be chosen before this is wanted
    button.addEventListener("click", () => {
      const { names, rows } = make(from);
      Dom.save(`${name}.csv`, [from.marked ? "\ufeff" : "", Rows.write(names, rows, from.delimiter)], "text/csv");
    });
    return el("div", { className: "result" },
      el("h3", {}, title), el("p", { className: "soft small" }, said), Dom.framed(title, table),
      el("p", { className: "buttons" }, button, ...beside));
  }

  function predictions(model, done, name) {
    const found = new Set(done.answered.flatMap(one => Object.keys(one)));
    for (const known of ["index", "version"]) found.delete(known);
    const own = [...done.versions.length > 1 ? ["version"] : [], ...found];
    const key = model.id !== null && file.names.includes(model.id) && !found.has(model.id) ? [model.id] : [];
    const whole = el("input", { type: "checkbox", checked: true });
    const make = (from, given, answered) => ({
      names: ["index", ...given, ...own],
      rows: answered.map(one => {
        const record = from.records[one.index];
        return [one.index, ...given.map(column => record[column] ?? null), ...own.map(column => one[column] ?? null)];
      }),
    });
    const all = from => {
      const beside = from.names.filter(column => column !== "index" && !own.includes(column));
      return make(from, whole.checked ? beside : [], done.answered);
    };
    const { names, rows } = make(file, key, done.answered.slice(0, SHOWN)), size = count(done.answered.length, "row");
    const said = done.answered.length > SHOWN ? `The first ${SHOWN} of ${size}; the download has all.` : size;
    const tick = el("label", { className: "tick" }, whole, " with the columns of the file");
    return part("Predictions", said, Dom.table("Predictions", names, rows), `${name}-predictions`, all, tick);
  }

  function rejected(done, bad, name) {
    const told = (from, faults) => ({
      names: ["index", ...from.lines ? ["line"] : [], "column", "value", "reason"],
      rows: faults.map(({ row, column, reason }) => [
        row, ...from.lines ? [from.lines[row]] : [], column, from.records[row]?.[column] ?? null, reason]),
    });
    const { names, rows } = told(file, done.rejected.slice(0, SHOWN)), size = count(bad, "row");
    const more = `${size}; the first ${SHOWN} reasons are here, the download has all.`;
    return part("Rejected", done.rejected.length > SHOWN ? more : size, Dom.table("Rejected rows and why", names, rows),
      `${name}-rejected`, from => told(from, done.rejected));
  }

  return { read, stop };
})();

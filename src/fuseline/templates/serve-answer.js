// One answer, as people read it.
const Answer = (() => {
  "use strict";
  const { id, el, figure, duration, sentence } = Dom;
  const MOST = 100_000; // characters of an answer that are shown
  const ROWS = 200;

  function show(...inside) {
    id("answer").replaceChildren(...inside.filter(Boolean));
    if (!document.activeElement?.matches("[aria-invalid]")) id("answer").scrollIntoView({ block: "nearest" });
  }

  const took = (version, milliseconds) => (
    el("p", { className: "soft small" }, [version, duration(milliseconds)].filter(Boolean).join(" · ")));
  const pairs = row => (
    el("div", { className: "frame-rows low", tabIndex: 0 }, Dom.pairs("The answer", Object.entries(row))));
  const pre = text => el("pre", { tabIndex: 0 }, text.slice(0, MOST));
  const isRecord = row => row !== null && typeof row === "object" && !Array.isArray(row);

  function large(value) {
    const many = typeof value === "number" && Math.abs(value) >= 10_000;
    const text = many ? Math.round(value).toLocaleString("en") : figure(value, 5);
    return el("p", { className: "score", title: String(value) }, text);
  }

  // Of a project's model: the score, and what `postprocess` adds. `all` asks once more, without the threshold.
  function scored(said, milliseconds, threshold, all) {
    const [row] = said.predictions, foot = took(said.version, milliseconds);
    const why = `Fallback. ${sentence(said.reason ?? "")}`;
    const fallback = said.mode === "fallback" && el("p", { className: "warn small" }, why);
    if (!row) {
      const button = el("button", { type: "button", className: "plain-button" }, "Show it all the same");
      button.addEventListener("click", all);
      const below = `The score does not reach ${threshold}, so the row is not in the answer.`;
      return show(el("h3", {}, "Below the threshold"), el("p", {}, below), button, foot, fallback);
    }
    const { index: _, score, ...rest } = row;
    if (typeof score !== "number") return show(pairs(score === undefined ? rest : { score, ...rest }), foot, fallback);
    const more = Object.keys(rest).length > 0 && pairs(rest);
    return show(el("p", { className: "soft small" }, "score"), large(score), more, foot, fallback);
  }

  // Of a file's model, which can say anything.
  async function free(reply, milliseconds) {
    const type = (reply.headers.get("Content-Type") ?? "").split(";")[0];
    if (type.startsWith("image/")) return picture(await reply.blob(), milliseconds);
    if (!type.endsWith("json")) return show(pre(await reply.text()), took("", milliseconds));
    const said = await Api.read(reply), found = isRecord(said) && "predictions" in said ? said.predictions : said;
    return show(drawn(found), took(said?.version, milliseconds));
  }

  function drawn(found) {
    const rows = Array.isArray(found) ? found : [found];
    if (rows.length === 1 && !(rows[0] !== null && typeof rows[0] === "object")) return large(rows[0]);
    if (!rows.length || rows.length > ROWS || !rows.every(isRecord)) return pre(JSON.stringify(found, null, 2));
    if (rows.length === 1) return pairs(rows[0]);
    const names = [...new Set(rows.flatMap(row => Object.keys(row)))];
    const table = Dom.table("The answers", names, rows.map(row => names.map(name => row[name] ?? null)));
    return Dom.framed("The answers", table);
  }

  function picture(blob, milliseconds) {
    const image = el("img", { alt: "The model's answer", src: URL.createObjectURL(blob) });
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
    return show(image, took("", milliseconds));
  }

  // A Problem; `homeless` are the faults that stand at no field, null where there are no fields.
  function failed(problem, homeless) {
    const { rows, title } = problem.document, faults = homeless ?? rows ?? [];
    const said = rows && homeless && !homeless.length ? "Look at the marked fields." : sentence(problem.message);
    const told = ({ column, reason }) => (!column || reason.includes(column) ? reason : `${column}: ${reason}`);
    const lines = faults.slice(0, 20).map(one => el("li", {}, told(one)));
    show(
      el("p", { className: "verdict halt" }, rows && homeless ? "The row cannot be scored" : title ?? "No answer"),
      el("p", { className: "break" }, said),
      lines.length > 0 && el("ul", { className: "also" }, ...lines),
      problem.wait && el("p", { className: "soft small" }, `Try again in ${figure(problem.wait)} s.`));
  }

  return { scored, free, failed };
})();

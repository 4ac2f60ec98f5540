// The page of one model: asks what the model takes, makes a form of it, sends what is in it and shows the answers.
(() => {
  "use strict";
  const { id, el, tell, count, sentence, figure } = Dom;
  const EVERY = 15; // seconds between two looks at who answers
  const MANY_FIELDS = 20; // from which on a field must be searched for
  const EVERY_SCORE = -1e300; // a threshold that each reaches
  const PARTS = ["one", "many", "code"];
  let model = null, shape = "", form = null, locked = false, clock = 0, turn = 0, asking = false;

  // ── who answers ───────────────────────────────────────────────────────────────────────────────────────────────

  async function look() {
    clearTimeout(clock);
    const mine = ++turn;
    let next = EVERY;
    try {
      const found = await Api.read(await Api.ask("model"));
      if (mine !== turn) return; // there was a later look
      model = found;
      show();
    } catch (problem) {
      if (!(problem instanceof Api.Problem)) throw problem;
      if (mine !== turn) return;
      if (problem.status === 401) {
        lock();
        return;
      }
      next = Math.min(Math.max(problem.wait ?? EVERY, 1), EVERY);
      trouble(problem);
    }
    clock = setTimeout(() => (document.hidden ? null : look()), 1000 * next);
  }

  function trouble(problem) {
    const { title, detail } = problem.document, { wait } = problem;
    if (problem.status === 0) {
      tell(id("banner"), `${sentence(title)} This page keeps trying.`);
      return;
    }
    const when = new Date(Date.now() + 1000 * (wait ?? 0));
    const said = wait > 43_200 ? when.toLocaleString("en-GB") : when.toLocaleTimeString("en-GB");
    const again = wait ? `Try again after ${said}. This page does by itself.` : "This page keeps trying.";
    tell(id("banner"));
    id("notice").className = "notice halt";
    tell(id("notice"),
      el("h2", {}, title ?? `The server answered ${problem.status}`),
      el("p", {}, sentence(detail ?? "")),
      el("p", { className: "soft" }, again));
  }

  function lock() {
    locked = true;
    tell(id("key-fault"), Api.key === null ? "" : "The server does not take this key.");
    tell(id("banner"));
    Api.use(null);
    for (const part of [...PARTS, "forget", "facts", "notice"]) id(part).hidden = true;
    links();
    id("unlock").hidden = false;
    id("key").focus();
  }

  function show() {
    tell(id("banner"));
    tell(id("key-fault"));
    id("key").value = "";
    id("unlock").hidden = true;
    id("forget").hidden = Api.key === null;
    document.title = `${model.name} · Fuseline`;
    id("name").textContent = model.name;
    facts();
    id("notice").className = "notice";
    const fallback = `The breaker is not closed. The last good version, ${model.version}, answers. `;
    tell(id("notice"),
      model.mode === "fallback" && el("p", {}, el("b", {}, fallback), sentence(model.reason)),
      model.trouble && el("p", {}, el("b", {}, "Not all is well. "), sentence(model.trouble)));
    const { columns, example, threshold: usual, task, scores, files } = model;
    const now = JSON.stringify([columns, example, usual, task, scores, files]);
    if (now !== shape) build();
    shape = now;
    for (const part of PARTS) id(part).hidden = part === "many" && !columns;
    links();
    snippets();
  }

  function facts() {
    const known = { Version: model.version, Mode: model.mode, Task: model.task, Columns: model.columns?.length };
    const told = Object.entries(known).filter(([, value]) => value !== null && value !== undefined);
    tell(id("facts"), ...told.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))));
    const { rows, body_bytes: bytes, seconds } = model.limits;
    const mib = figure(bytes / 2 ** 20, 3);
    const size = `Up to ${count(rows, "row")} and ${mib} MiB in one request`;
    tell(id("limits"), `${size}, ${figure(seconds)} s for an answer.`);
  }

  function links() {
    for (const part of PARTS) id(`to-${part}`).hidden = id(part).hidden;
  }

  // ── one row ───────────────────────────────────────────────────────────────────────────────────────────────────

  function build() {
    const { columns } = model, before = form?.record();
    id("fields").hidden = id("tools").hidden = !columns;
    id("free").hidden = Boolean(columns);
    id("limit").hidden = !columns || model.scores.length > 1; // of several scores none can be held to a threshold
    form = null;
    if (!columns) {
      free();
      return;
    }
    id("one-title").textContent = "One row";
    id("one-lead").textContent = "A blank field is filled as it was in training. Below each is what training saw.";
    form = Form.make(id("fields"), columns, example(), snippets);
    form.examples();
    if (before) form.fill({ ...form.record(), ...before });
    id("filter").hidden = id("found").hidden = form.size < MANY_FIELDS;
    id("fields").classList.toggle("many", form.size >= MANY_FIELDS);
    find();
    const usual = model.threshold, share = usual === null || (usual >= 0 && usual <= 1);
    id("slider").hidden = model.task === "regression" || !share;
    id("slider").value = usual ?? 0;
    id("threshold").value = usual ?? "";
    id("threshold").placeholder = usual ?? "none";
    threshold();
  }

  // What stands in place of the fields where only the model's own code knows what it takes.
  function free() {
    const known = model.example !== null && model.example !== undefined;
    const lead = known ? "It takes JSON like this." : "It takes the JSON that its own code reads.";
    id("one-title").textContent = "Ask the model";
    id("one-lead").textContent = model.files ? "It takes a file." : lead;
    id("upload").hidden = !model.files;
    id("text-label").textContent = model.files ? "Or text" : "JSON";
    id("text").value = model.files ? "" : JSON.stringify(model.example ?? {}, null, 2);
  }

  function example() {
    const found = Array.isArray(model.example) ? model.example[0] : model.example;
    return found !== null && typeof found === "object" ? found : {};
  }

  function find() {
    const seen = form.filter(id("filter").value), all = count(form.size, "field");
    id("found").textContent = seen === form.size ? all : `${seen} of ${all}`;
  }

  // The threshold to send: null for the model's own, undefined where there is no number.
  function threshold() {
    const text = id("threshold").value.trim(), value = Number(text), bad = text !== "" && !Number.isFinite(value);
    const blank = model.threshold === null ? "every row is answered" : `${model.threshold}, as the project says`;
    const hint = `Only rows whose score reaches it are answered. Blank: ${blank}.`;
    id("limit-hint").textContent = bad ? "This is no number." : hint;
    id("limit-hint").classList.toggle("fault", bad);
    if (!bad && text !== "") id("slider").value = value;
    if (id("limit").hidden || text === "") return null;
    return bad ? undefined : value;
  }

  // What the page would send now: `value`, `text` or `file`; `fault` says why it cannot be sent.
  function request() {
    if (form) return { value: form.record() };
    const text = id("text").value, file = id("file").files[0];
    if (model.files) return file ? { file } : { text, fault: text ? "" : "Choose a file, or write some text." };
    try {
      return { value: JSON.parse(text) };
    } catch (error) {
      return { fault: `This is not JSON: ${error.message}` };
    }
  }

  function post(asked, limit) {
    if (asked.file) {
      const body = new FormData();
      body.set("file", asked.file);
      return Api.post("predict", body, null);
    }
    if (asked.text !== undefined) return Api.post("predict", asked.text, "application/octet-stream");
    const query = limit === null ? "" : `?threshold=${encodeURIComponent(limit)}`;
    return Api.post(`predict${query}`, JSON.stringify(asked.value));
  }

  async function predict(limit) {
    const asked = request(), wrong = form?.wrong() ?? [];
    tell(id("text-fault"), asked.fault);
    if (limit === undefined) id("threshold").focus();
    form?.complain(wrong);
    if (asking || asked.fault || wrong.length || limit === undefined) return;
    asking = true;
    id("predict").textContent = "Predicting …";
    const began = performance.now();
    try {
      const reply = await post(asked, limit);
      await answered(reply, began, limit);
    } catch (problem) {
      if (!(problem instanceof Api.Problem)) throw problem;
      if (problem.status === 401 || problem.status === 503) look();
      Answer.failed(problem, form ? form.complain(problem.document.rows ?? []) : null);
    } finally {
      asking = false;
      id("predict").textContent = "Predict";
    }
  }

  async function answered(reply, began, limit) {
    if (!form) {
      await Answer.free(reply, performance.now() - began);
      return;
    }
    const said = await Api.read(reply);
    Answer.scored(said, performance.now() - began, limit ?? model.threshold, () => predict(EVERY_SCORE));
    if (said.version !== model.version || said.mode !== model.mode) look();
  }

  // ── programs ──────────────────────────────────────────────────────────────────────────────────────────────────

  function snippets() {
    if (!model) return;
    const { value = null, text, file, fault } = request();
    if (fault && text === undefined) return;
    const asked = { value, text, file: file?.name, threshold: threshold() ?? null, key: locked };
    id("curl").textContent = Snippets.curl({ address: Api.address("predict"), ...asked });
    id("python").textContent = Snippets.requests({ address: Api.address("predict"), ...asked });
  }

  async function copy(button) {
    button.textContent = (await Dom.copy(id(button.dataset.copy))) ? "Copied" : "Copy by hand";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }

  // ── wiring ────────────────────────────────────────────────────────────────────────────────────────────────────

  const on = (name, event, does) => id(name).addEventListener(event, does);
  const page = { model: () => model, threshold, look };
  const over = (event, is) => { event.preventDefault(); id("drop").classList.toggle("over", is); };
  on("ask", "submit", event => { event.preventDefault(); predict(threshold()); });
  on("filter", "input", find);
  on("filter", "keydown", event => { if (event.key === "Enter") event.preventDefault(); });
  on("examples", "click", () => form.examples());
  on("clear", "click", () => form.clear());
  on("threshold", "input", snippets);
  on("slider", "input", () => { id("threshold").value = id("slider").value; snippets(); });
  on("text", "input", () => { tell(id("text-fault")); snippets(); });
  on("file", "change", snippets);
  on("unlock", "submit", event => { event.preventDefault(); Api.use(id("key").value.trim()); look(); });
  on("forget", "click", () => { Api.use(null); look(); });
  on("rows", "change", () => { Many.read(id("rows").files[0], page); id("rows").value = ""; });
  on("stop", "click", Many.stop);
  for (const event of ["dragenter", "dragover"]) on("drop", event, e => over(e, true));
  for (const event of ["dragleave", "drop"]) on("drop", event, e => over(e, false));
  on("drop", "drop", event => Many.read(event.dataTransfer.files[0], page));
  for (const event of ["dragover", "drop"]) { // a file that is dropped beside does not replace the page
    addEventListener(event, e => { if (e.target.type !== "file") e.preventDefault(); });
  }
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
  document.addEventListener("visibilitychange", () => { if (!document.hidden && id("unlock").hidden) look(); });
  id("docs").href = Api.address("docs");
  look();
})();

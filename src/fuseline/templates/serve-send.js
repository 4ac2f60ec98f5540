// Sends the records of a file in pieces that the server takes.
const Send = (() => {
  "use strict";
  const ROWS = 10_000, LETTERS = 4_000_000; // of one piece, where the server takes as much
  const PATIENCE = 6; // times that a busy server is asked again
  const LEFT_OUT = "not scored; the server names the first faults only";

  const pause = (seconds, signal) => new Promise((done, stopped) => {
    const clock = setTimeout(done, 1000 * seconds);
    signal.addEventListener("abort", () => { clearTimeout(clock); stopped(signal.reason); }, { once: true });
  });

  // The next piece: row numbers in the file, and the JSON of their records. A bad row of the file is in no piece.
  function piece(records, from, rows, letters) {
    const at = [], texts = [];
    let size = 0, next = from;
    for (; next < records.length && at.length < rows; next++) {
      if (records[next] === null) continue;
      const text = JSON.stringify(records[next]);
      if (at.length && size + text.length > letters) break;
      at.push(next);
      texts.push(text);
      size += text.length + 1;
    }
    return { at, next, body: `[${texts.join(",")}]` };
  }

  // Why rows of a piece have no prediction, by the row numbers of the file.
  const faults = (found, at) => (found ?? []).map(fault => ({ ...fault, row: at[fault.row] ?? fault.row }));

  // A piece of which the server could not score a single row: what it says of each, or of those that it names.
  function refused(document, at) {
    const named = faults(document.rows, at), told = new Set(named.map(fault => fault.row));
    const rest = at.filter(row => !told.has(row)).map(row => ({ row, column: null, reason: LEFT_OUT }));
    return [...named, ...rest];
  }

  function take(done, said, at) {
    for (const one of said.predictions) done.answered.push({ ...one, index: at[one.index], version: said.version });
    done.rejected.push(...faults(said.rejected, at));
    if (!done.versions.includes(said.version)) done.versions.push(said.version);
    for (const name of said.extra ?? []) done.extra.add(name);
    if (said.mode === "fallback") done.notes.add(said.reason || "an older version answered");
  }

  /* Sends all records of a file; `progress` is called with what is done so far, and why it waits.

     Returns `answered` (predictions, their index being the row of the file), `rejected` (row, column, reason),
     `versions`, `extra` and `notes` of the answers, `sent` (rows that are settled), `reached` (the row of the file)
     and `stopped`: the Problem that ended it early, or null. */
  async function all(file, limits, threshold, signal, progress) {
    const done = {
      answered: [], rejected: [...file.broken], versions: [], extra: new Set(), notes: new Set(),
      sent: file.broken.length, reached: 0, stopped: null,
    };
    const letters = Math.min((limits?.body_bytes ?? Infinity) / 3, LETTERS); // a letter has three bytes at most
    const path = `predict?partial=true${threshold === null ? "" : `&threshold=${encodeURIComponent(threshold)}`}`;
    let rows = Math.min(limits?.rows ?? ROWS, ROWS), tries = 0;
    while (done.reached < file.records.length) {
      const part = piece(file.records, done.reached, rows, letters), { at } = part;
      if (!at.length) break;
      try {
        take(done, await Api.read(await Api.post(path, part.body, "application/json", signal)), at);
      } catch (error) {
        if (!(error instanceof Api.Problem)) throw error;
        const { status, wait } = error;
        if ((status === 413 || status === 504) && at.length > 1) {
          rows = Math.ceil(at.length / 2);
          continue;
        }
        if (status === 429 && tries++ < PATIENCE) {
          progress(done, `the server is busy, it is asked again in ${wait ?? 1} s`);
          await pause(Math.min(wait ?? 1, 30), signal);
          continue;
        }
        if (status !== 422 || !error.document.rows) {
          done.stopped = error;
          break;
        }
        done.rejected.push(...refused(error.document, at));
      }
      tries = 0;
      done.reached = part.next;
      done.sent += at.length;
      progress(done, "");
    }
    done.rejected.sort((a, b) => a.row - b.row);
    return done;
  }

  return { all };
})();

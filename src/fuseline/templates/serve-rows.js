// Files of rows to records and back: CSV, JSON and JSON lines, read as the batch flow reads them. Knows no page.
const Rows = (() => {
  "use strict";
  // What stands for nothing in a CSV file: the same words as in a batch.
  const NULLS = ["", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "Null", "NaN", "nan", "None", "-nan", "-NaN"];
  const NOTHING = new Set(NULLS);
  const DELIMITERS = [",", ";", "\t", "|"];
  const LOOKED_AT = 50; // rows, to tell the delimiter
  const MAGIC = [
    ["PAR1", "a Parquet file: put it into the inbox of the project, or write it as CSV"],
    ["PK\x03\x04", "a zip archive or an Excel workbook: save the sheet as CSV"],
    ["\x1f\x8b", "compressed with gzip: unpack it"],
    ["\x28\xb5\x2f\xfd", "compressed with zstd: unpack it"],
  ];

  class Unreadable extends Error {}

  // Bytes to text, and a note where they were no UTF-8.
  function decode(bytes) {
    const starts = (...codes) => codes.every((code, i) => bytes[i] === code);
    const head = String.fromCharCode(...bytes.subarray(0, 4));
    for (const [magic, what] of MAGIC) if (head.startsWith(magic)) throw new Unreadable(`It is ${what}.`);
    const utf16 = starts(0xff, 0xfe) ? "utf-16le" : starts(0xfe, 0xff) ? "utf-16be" : null;
    if (utf16) return { text: new TextDecoder(utf16).decode(bytes), note: "Read as UTF-16." };
    try {
      return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), note: "" };
    } catch {
      if (bytes.subarray(0, 65536).includes(0)) throw new Unreadable("It is no text: it holds zero bytes.");
      const note = "It is not UTF-8. It was read as Windows-1252: look whether accents and umlauts are right.";
      return { text: new TextDecoder("windows-1252").decode(bytes), note };
    }
  }

  // The rows of a CSV text as lists of text, and the line that each begins in. Blank lines are left out.
  function cut(text, delimiter, most = Infinity) {
    const rows = [], lines = [], mark = delimiter.charCodeAt(0);
    let at = 0, line = 1;
    const end = from => {
      for (; from < text.length; from++) {
        const code = text.charCodeAt(from);
        if (code === mark || code === 10 || code === 13) break;
      }
      return from;
    };
    const quoted = () => {
      let value = "", from = at + 1;
      for (;;) {
        const close = text.indexOf('"', from);
        if (close < 0) throw new Unreadable(`Line ${line}: a quote opens and never closes.`);
        value += text.slice(from, close);
        from = close + 1;
        if (text[from] !== '"') break;
        value += '"';
        from++;
      }
      at = from;
      return value;
    };
    while (at < text.length && rows.length < most) {
      const row = [], begun = line;
      for (;;) {
        const opened = text[at] === '"';
        const start = opened ? quoted() : "";
        const stop = end(at);
        if (opened) line += start.split(/\r\n|\n|\r/).length - 1;
        row.push(start + text.slice(at, stop));
        at = stop;
        if (text[at] !== delimiter) break;
        at++;
      }
      at += text[at] === "\r" && text[at + 1] === "\n" ? 2 : 1;
      line++;
      if (row.length === 1 && row[0] === "") continue;
      rows.push(row);
      lines.push(begun);
    }
    return { rows, lines };
  }

  // Share of rows as wide as the header, then that width; a header of one column says nothing.
  function plausible(text, delimiter) {
    let rows;
    try {
      ({ rows } = cut(text, delimiter, LOOKED_AT));
    } catch {
      return [0, 0];
    }
    if (!rows.length || rows[0].length < 2) return [0, 0];
    return [rows.filter(row => row.length === rows[0].length).length / rows.length, rows[0].length];
  }

  function csv(text) {
    let delimiter = ",", best = [0, 0];
    for (const one of DELIMITERS) {
      const found = plausible(text, one);
      if (found[0] > best[0] || (found[0] === best[0] && found[1] > best[1])) [delimiter, best] = [one, found];
    }
    const { rows, lines } = cut(text, delimiter);
    if (rows.length < 2) throw new Unreadable("It has no rows: expected a header and at least one row below it.");
    const names = rows[0], broken = [];
    const twice = names.filter((name, i) => names.indexOf(name) !== i);
    if (twice.length) throw new Unreadable(`It names a column twice: ${[...new Set(twice)].join(", ")}.`);
    const records = rows.slice(1).map((row, i) => {
      if (row.length !== names.length) {
        broken.push({ row: i, column: null, reason: `has ${row.length} values where the header has ${names.length}` });
        return null;
      }
      const record = {};
      names.forEach((name, c) => set(record, name, NOTHING.has(row[c]) ? null : row[c]));
      return record;
    });
    return { format: "CSV", names, records, lines: lines.slice(1), broken, delimiter };
  }

  function json(text) {
    let found = null, lines = null;
    const broken = [];
    try {
      found = JSON.parse(text);
      found = Array.isArray(found) ? found : [found];
    } catch (error) {
      if (text.startsWith("[")) {
        throw new Unreadable(`It is not JSON: ${error.message}. Write null where a value is not known.`);
      }
    }
    if (!found) {
      lines = [];
      found = [];
      text.split("\n").forEach((line, i) => {
        if (!line.trim()) return;
        lines.push(i + 1);
        try {
          found.push(JSON.parse(line));
        } catch (error) {
          broken.push({ row: found.length, column: null, reason: `is not JSON: ${error.message}` });
          found.push(null);
        }
      });
    }
    const said = new Set(broken.map(one => one.row)), names = new Set();
    const records = found.map((record, row) => {
      if (record !== null && typeof record === "object" && !Array.isArray(record)) {
        for (const name in record) names.add(name);
        return record;
      }
      const short = JSON.stringify(record).slice(0, 40);
      if (!said.has(row)) broken.push({ row, column: null, reason: `is ${short}, not an object of names and values` });
      return null;
    });
    if (!records.length) throw new Unreadable("It has no rows: expected at least one.");
    if (!names.size) throw new Unreadable(`It holds no JSON object: its first row ${broken[0]?.reason ?? "is empty"}.`);
    broken.sort((a, b) => a.row - b.row);
    return { format: lines ? "JSON lines" : "JSON", names: [...names], records, lines, broken, delimiter: "," };
  }

  // A column may be called `__proto__`: an assignment would change the record's kind and not its value.
  function set(record, name, value) {
    if (name !== "__proto__") record[name] = value;
    else Object.defineProperty(record, name, { value, enumerable: true, configurable: true, writable: true });
  }

  /* What a file holds:
     names: its columns.
     records: one object for each row, null for a row that cannot be read, which `broken` then explains.
     lines: the line of the file that each row begins in, null for a JSON list.
     delimiter, marked: how a CSV file that goes with it is best written. */
  function parse(bytes) {
    const { text, note } = decode(bytes), bare = text.trim();
    if (!bare) throw new Unreadable("It is empty.");
    const found = bare[0] === "{" || bare[0] === "[" ? json(bare) : csv(text);
    return { ...found, note, marked: bytes[0] === 0xef && bytes[1] === 0xbb };
  }

  function cell(value, delimiter) {
    if (value === null || value === undefined) return "";
    const text = typeof value === "object" ? JSON.stringify(value) : String(value);
    return /["\r\n]|^\s|\s$/.test(text) || text.includes(delimiter) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  // A CSV text of rows that are lists of values.
  function write(names, rows, delimiter = ",") {
    const line = row => row.map(value => cell(value, delimiter)).join(delimiter);
    return [names, ...rows].map(line).join("\r\n") + "\r\n";
  }

  return { NULLS, Unreadable, parse, write };
})();

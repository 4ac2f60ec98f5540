// The request of the page as a person would write it in a program.
const Snippets = (() => {
  "use strict";
  const KEY = "YOUR_KEY";
  const quoted = text => `'${text.replaceAll("'", "'\\''")}'`; // for the shells of Unix

  // A value of JSON as Python writes it.
  function python(value, indent = "") {
    const inner = `${indent}    `;
    if (value === null) return "None";
    if (value === true) return "True";
    if (value === false) return "False";
    if (typeof value !== "object") return JSON.stringify(value);
    const [open, close] = Array.isArray(value) ? "[]" : "{}";
    const named = (name, v) => (Array.isArray(value) ? "" : `${JSON.stringify(name)}: `) + python(v, inner);
    const lines = Object.entries(value).map(([name, v]) => `${inner}${named(name, v)},\n`);
    return lines.length ? `${open}\n${lines.join("")}${indent}${close}` : open + close;
  }

  /* What to send: `address`; `value` (JSON), `text` (as it is) or `file` (its name); `threshold`, null for none; `key`,
     whether one goes along. */
  function curl({ address, value, text, file, threshold, key }) {
    const to = threshold === null ? address : `${address}?threshold=${encodeURIComponent(threshold)}`;
    const lines = [`curl -sS ${quoted(to)}`];
    if (key) lines.push(`-H ${quoted(`Authorization: Bearer ${KEY}`)}`);
    if (file) lines.push(`-F ${quoted(`file=@${file}`)}`);
    else if (text === undefined) {
      lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(value, null, 2))}`);
    } else lines.push("-H 'Content-Type: application/octet-stream'", `--data-binary ${quoted(text)}`);
    return lines.join(" \\\n  ");
  }

  function requests({ address, value, text, file, threshold, key }) {
    const body = text === undefined ? "json=data," : "data=data.encode(),";
    const lines = [file ? `files={"file": open(${JSON.stringify(file)}, "rb")},` : body];
    if (threshold !== null) lines.push(`params={"threshold": ${python(threshold)}},`);
    if (key) lines.push(`headers={"Authorization": ${JSON.stringify(`Bearer ${KEY}`)}},`);
    lines.push("timeout=60,");
    const data = file ? "" : `data = ${python(text ?? value)}\n`;
    const call = `reply = requests.post(\n    ${JSON.stringify(address)},\n    ${lines.join("\n    ")}\n)`;
    return `import requests\n\n${data}${call}\nreply.raise_for_status()\nprint(reply.json())`;
  }

  return { curl, requests };
})();

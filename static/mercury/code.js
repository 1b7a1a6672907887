// The form's email as code for curl, Python and httpie: all fields that are filled in, as the API takes them.
"use strict";
{
  const LONGEST = 300; // characters of a value that are shown
  const PAIRS = new Set(["metadata", "headers"]);
  const ALWAYS = { sender: "mercury@olimpus.com", recipient: "zeus@olimpus.com", subject: "You made my day!", content: "Hi Zeus" };

  const cut = (text) => (text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text);
  const inShell = (text) => text.replaceAll("'", "'\\''");

  // The words of a tag list, the pairs of headers: as the server reads them
  function read(name, text) {
    if (name === "tags") return text.split(/[,\s]+/).filter(Boolean);
    if (!PAIRS.has(name)) return cut(text);
    const lines = text.split("\n").filter((line) => line.includes(":"));
    return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(":")).trim(), line.slice(line.indexOf(":") + 1).trim()]));
  }

  function readEmail(form) {
    const email = {};
    for (const field of form.querySelectorAll("[data-mirrored]")) {
      const text = field.value || ALWAYS[field.name];
      if (text) email[field.name] = field.type === "datetime-local" ? `${text}[${form.elements.time_zone.value}]` : read(field.name, text);
    }
    if (email.html && !form.elements.content.value) delete email.content;
    const files = [...form.querySelectorAll('[data-field="file"]')].filter((field) => field.value).map((field) => field.value);
    if (files.length) email.attachments = files.map((file) => describe(form, file));
    return email;
  }

  function describe(form, file) {
    const entry = { file };
    for (const name of ["content_id", "delivery"]) {
      const value = form.elements[`${name}-${file}`]?.value;
      if (value) entry[name] = value;
    }
    return entry;
  }

  // Each line is a list of parts: plain text, or [element, text]
  function json(value) {
    if (Array.isArray(value)) return `[${value.map(json).join(", ")}]`;
    if (typeof value !== "object") return JSON.stringify(value);
    return `{${Object.entries(value).map(([name, inner]) => `${JSON.stringify(name)}: ${json(inner)}`).join(", ")}}`;
  }

  const writers = {
    curl(entries, url) {
      const body = entries.map(([name, value]) => `"${name}": ${inShell(json(value))}`).join(",\n    ");
      return [
        "curl ", ["b", "-i"], " \\\n  ", ["b", "-H"], " ", ["i", '"Authorization: Bearer $KEY"'], " \\\n  ",
        ["b", "-H"], " ", ["i", '"Content-Type: application/json"'], " \\\n  ", ["b", "-d"], " ", ["i", `'{${body}}'`], ` \\\n  ${url}`,
      ];
    },
    python(entries, url) {
      const lines = entries.flatMap(([name, value]) => ["        ", ["i", `"${name}"`], ": ", ["i", json(value)], ",\n"]);
      return [
        ["b", "import"], " os, requests\n\nrequests.post(\n    ", ["i", `"${url}"`], ",\n    headers={", ["i", '"Authorization"'], ": ",
        ["i", "f\"Bearer {os.environ['KEY']}\""], "},\n    json={\n", ...lines, "    },\n    timeout=10,\n).raise_for_status()",
      ];
    },
    httpie(entries, url) {
      const fields = entries.flatMap(([name, value]) => typeof value === "string"
        ? [` \\\n  ${name}=`, ["i", `'${inShell(value)}'`]]
        : [` \\\n  ${name}:=`, ["i", `'${inShell(json(value))}'`]]);
      return ["http ", ["b", "-A"], " bearer ", ["b", "-a"], " ", ["i", '"$KEY"'], ` POST ${url}`, ...fields];
    },
  };

  function draw(form) {
    const entries = Object.entries(readEmail(form));
    for (const place of document.querySelectorAll("[data-code]")) {
      place.replaceChildren(...writers[place.dataset.code](entries, place.dataset.url).map((part) => {
        if (typeof part === "string") return part;
        const element = document.createElement(part[0]);
        element.textContent = part[1];
        return element;
      }));
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const form = document.querySelector("[data-submit]");
    if (!form) return;
    for (const name of ["input", "change", "mercury:attachments"]) form.addEventListener(name, () => draw(form));
    draw(form);
  });
}

// The files of the form: added by the button or by drag and drop, uploaded in turn, each with its progress, its errors and a
// button that removes it. The server makes the same rows for what was uploaded before.
"use strict";
{
  const { Upload, Refused, sizeWords } = window.mercury;
  // As the server shows a name: nothing in it turns the text around it, or hides
  const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
  const UPLOAD = /^[0-9a-f-]{36}$/; // the id of an upload; a file of a copied email has another one
  const PICTURE = /^image\/(png|gif|jpeg|webp)$/;

  const sum = (files) => files.reduce((total, file) => total + file.size, 0);

  class Attachments {
    constructor(place) {
      this.place = place;
      this.form = place.closest("form");
      this.rows = place.querySelector("[data-rows]");
      this.template = document.getElementById("attachment-row");
      this.input = place.querySelector("input[type=file]");
      this.limits = { each: Number(place.dataset.mostEach), together: Number(place.dataset.mostTogether), file: Number(place.dataset.mostFile) };
      this.canLink = place.dataset.canLink !== undefined;
      this.waiting = [];
      this.running = null;
      this.sending = null; // the button that was pressed while files were on their way
    }

    start() {
      for (const row of this.list()) this.watch(row);
      this.input.addEventListener("change", () => {
        this.add(this.input.files);
        this.input.value = ""; // they are sent now, not once more with the form
      });
      for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
        document.addEventListener(name, (event) => this.drag(event));
      }
      this.place.addEventListener("change", () => this.count());
      this.form.addEventListener("submit", (event) => this.hold(event));
      addEventListener("beforeunload", (event) => { if (this.running && !this.sending) event.preventDefault(); });
      this.count();
    }

    list() { return [...this.rows.querySelectorAll("[data-attachment]")]; }

    drag(event) {
      if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
      event.preventDefault(); // else the browser leaves the page for the file
      const leaves = event.type === "drop" || (event.type === "dragleave" && !event.relatedTarget);
      this.place.classList.toggle("dropping", !leaves);
      if (event.type === "drop") this.add(event.dataTransfer.files);
    }

    add(files) {
      for (const file of files) this.queue(file, this.make(file));
      this.next();
    }

    make(file) {
      const row = this.template.content.firstElementChild.cloneNode(true);
      row.dataset.size = file.size;
      row.dataset.type = file.type;
      const name = file.name.replaceAll(UNPRINTABLE, "\ufffd");
      row.querySelector("[data-name]").textContent = name;
      for (const place of row.querySelectorAll("[data-of]")) place.textContent = ` ${name}`;
      row.querySelector("[data-size-words]").textContent = sizeWords(file.size);
      this.rows.append(row);
      this.watch(row);
      return row;
    }

    watch(row) {
      row.querySelector("[data-remove]").addEventListener("click", () => this.remove(row));
      const insert = row.querySelector("[data-insert]");
      insert.hidden = !PICTURE.test(row.dataset.type);
      insert.addEventListener("click", () => this.insert(row));
    }

    queue(file, row) {
      const problem = this.explain(file);
      if (problem) {
        this.fail(row, problem);
        return;
      }
      row.upload = { file, abort: new AbortController() };
      this.say(row, "Waiting");
      this.waiting.push(row);
    }

    explain(file) {
      if (!file.size) return "The file is empty, or a folder.";
      const most = this.canLink ? this.limits.file : Math.min(this.limits.each, this.limits.file);
      return file.size > most ? `It has ${sizeWords(file.size)}; at most ${sizeWords(most)} are allowed.` : "";
    }

    async next() {
      if (this.running) return;
      const row = (this.running = this.waiting.shift() ?? null);
      this.count();
      if (!row) {
        this.finish();
        return;
      }
      const { file, abort } = row.upload;
      const bar = row.querySelector("progress");
      bar.hidden = false;
      const show = (sent, words) => {
        bar.value = file.size ? sent / file.size : 0;
        this.say(row, words ?? `${sizeWords(sent)} of ${sizeWords(file.size)}`);
      };
      show(0);
      const token = this.form.elements.csrfmiddlewaretoken.value;
      try {
        const id = await new Upload(file, { url: this.place.dataset.url, token, signal: abort.signal, show }).run();
        this.complete(row, id);
      } catch (error) {
        if (!abort.signal.aborted) this.fail(row, error.message, { again: !(error instanceof Refused) });
      }
      bar.hidden = true;
      this.running = null;
      this.next();
    }

    complete(row, id) {
      row.dataset.id = id;
      row.upload = null;
      for (const field of row.querySelectorAll("[data-field]")) {
        field.name = field.dataset.field === "file" ? "file" : `${field.dataset.field}-${id}`;
        if (field.dataset.field === "file") field.value = id;
        field.disabled = false;
      }
      row.querySelector("[data-options]").hidden = false;
      this.say(row, "Uploaded.");
    }

    fail(row, words, { again = false } = {}) {
      const place = row.querySelector("[data-error]");
      place.textContent = words;
      place.hidden = false;
      row.classList.add("wrong");
      this.say(row, "");
      const button = row.querySelector("[data-again]");
      button.hidden = !again;
      button.onclick = () => {
        place.hidden = button.hidden = true;
        row.classList.remove("wrong");
        this.queue(row.upload.file, row);
        this.next();
      };
    }

    say(row, words) {
      const place = row.querySelector("[data-state]");
      if (place.textContent !== words) place.textContent = words;
    }

    remove(row) {
      row.upload?.abort.abort();
      this.waiting = this.waiting.filter((other) => other !== row);
      if (UPLOAD.test(row.dataset.id)) {
        const headers = { "X-CSRFToken": this.form.elements.csrfmiddlewaretoken.value };
        fetch(`${this.place.dataset.url}${row.dataset.id}`, { method: "DELETE", headers }).catch(() => {}); // it expires anyway
      }
      const near = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      (near?.querySelector("[data-remove]") ?? this.input).focus();
      this.count();
    }

    // Show a picture in the HTML, by its Content-ID
    insert(row) {
      const field = row.querySelector('[data-field="content_id"]');
      const name = row.querySelector("[data-name]").textContent;
      field.value ||= name.normalize("NFKD").replace(/[^\w.-]+/g, "-").replace(/^[-.]+|[-.]+$/g, "") || "picture";
      const html = document.getElementById("id_html");
      html.setRangeText(`<img src="cid:${field.value}" alt="">`, html.selectionStart, html.selectionEnd, "end");
      html.dispatchEvent(new Event("input", { bubbles: true }));
      html.focus();
    }

    // Which files are attached, and how much room they leave
    count() {
      const files = this.list().filter((row) => !row.classList.contains("wrong")).map((row) => ({
        row,
        size: Number(row.dataset.size),
        delivery: row.querySelector('[data-field="delivery"]')?.value ?? "attachment",
        isInline: Boolean(row.querySelector('[data-field="content_id"]').value),
      }));
      const linked = this.chooseLinks(files);
      for (const file of files) file.row.querySelector("[data-link]").hidden = !linked.has(file);
      const left = this.limits.together - sum(files.filter((file) => !linked.has(file)));
      const place = this.place.querySelector("[data-left]");
      const words = left < 0 ? `${sizeWords(-left)} too much: remove a file.` : `${sizeWords(left)} left.`;
      if (place.textContent !== words) place.textContent = words;
      place.classList.toggle("error", left < 0);
      this.form.dispatchEvent(new Event("mercury:attachments"));
    }

    // The files that are sent as links, as the server chooses them: too large to attach, or the largest of too many
    chooseLinks(files) {
      const linked = new Set(files.filter((file) => file.delivery === "link"));
      const free = files.filter((file) => file.delivery === "" && !file.isInline).sort((one, other) => other.size - one.size);
      for (const file of free) {
        const attached = sum(files.filter((other) => !linked.has(other)));
        if (file.size > this.limits.each || attached > this.limits.together) linked.add(file);
      }
      return linked;
    }

    // Send once the files have arrived; not with a file that failed
    hold(event) {
      if (event.submitter?.formTarget) return; // the preview
      const wrong = this.list().find((row) => row.classList.contains("wrong") && !row.dataset.id);
      if (wrong) {
        event.preventDefault();
        wrong.querySelector("[data-remove]").focus();
      } else if (this.running || this.waiting.length) {
        event.preventDefault();
        this.sending = event.submitter;
        this.announce("The email is sent as soon as the files are uploaded.");
      }
    }

    finish() {
      const button = this.sending;
      this.sending = null;
      if (!button) return;
      this.announce("");
      this.form.requestSubmit(button);
    }

    announce(words) { this.form.querySelector("[data-held]").textContent = words; }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const place = document.querySelector("[data-attachments]");
    if (place) new Attachments(place).start();
  });
}

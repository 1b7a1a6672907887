// The form's live preview. The server cleans the HTML and answers into a sandboxed frame, as on the page of an email;
// nothing is stored. Without this script a button does the same.
"use strict";
{
  const QUIET = 400; // ms without a key
  const SHORTEST = 1000; // ms between two requests; the server takes 90 a minute
  const FIELDS = ["content", "html", "file"];

  class DraftPreview {
    constructor(form, place) {
      this.form = form;
      this.place = place;
      this.own = document.getElementById("preview-form");
      this.shown = "";
      this.asked = 0;
      this.number = 0;
    }

    start() {
      for (const name of ["input", "mercury:attachments"]) this.form.addEventListener(name, () => this.plan());
      for (const button of this.place.querySelectorAll("[data-width]")) {
        button.addEventListener("click", () => this.resize(button));
      }
      this.plan();
    }

    resize(button) {
      this.place.dataset.shown = button.dataset.width;
      for (const other of this.place.querySelectorAll("[data-width]")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
    }

    read() {
      const isShown = (name) => FIELDS.includes(name) || name.startsWith("content_id-");
      return [...new FormData(this.form)].filter(([name, value]) => isShown(name) && typeof value === "string");
    }

    plan() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.ask(), Math.max(QUIET, this.asked + SHORTEST - performance.now()));
    }

    ask() {
      const entries = this.read();
      const wanted = JSON.stringify(entries);
      if (wanted === this.shown) return;
      this.shown = wanted;
      this.asked = performance.now();
      this.own.replaceChildren(this.own.elements.csrfmiddlewaretoken, ...entries.map(([name, value]) => {
        const field = document.createElement("textarea");
        Object.assign(field, { name, value });
        return field;
      }));
      this.own.target = this.frame().name;
      this.own.submit();
    }

    // A new frame each time: the back button leads out of the page, not through every letter; the old one stays until then
    frame() {
      const old = this.place.querySelector("iframe:last-of-type");
      const frame = old.cloneNode();
      frame.name = `draft-preview-${++this.number}`;
      frame.classList.add("arriving");
      old.after(frame);
      frame.addEventListener("load", () => { // only now: an empty frame is loaded at once
        if (frame.name !== `draft-preview-${this.number}`) return;
        for (const other of this.place.querySelectorAll("iframe")) if (other !== frame) other.remove();
        frame.classList.remove("arriving");
      });
      return frame;
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const place = document.querySelector("[data-draft-preview]");
    if (place) new DraftPreview(place.closest("form"), place).start();
  });
}

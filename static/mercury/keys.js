// Single-key shortcuts: off while somebody types, and they can be switched off for good (WCAG 2.1.4).
"use strict";
{
  const rows = () => [...document.querySelectorAll("[data-row] a[data-open]")];

  function move(step) {
    const all = rows();
    if (!all.length) {
      document.querySelector(`[data-neighbours] a[rel=${step > 0 ? "next" : "prev"}]`)?.click();
      return;
    }
    const at = all.indexOf(document.activeElement);
    all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)].focus();
  }

  const keys = {
    "/": () => document.querySelector("[data-search]")?.focus(),
    j: () => move(1),
    k: () => move(-1),
    r: () => document.dispatchEvent(new Event("mercury:pause")),
    "?": () => document.getElementById("keys")?.showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    if (event.target.closest("input, textarea, select, [contenteditable], dialog")) return;
    if (window.mercury.remembered("keys") === "off") return;
    event.preventDefault();
    keys[event.key]();
  });

  document.addEventListener("DOMContentLoaded", () => {
    const choice = document.getElementById("keys-on");
    if (!choice) return;
    choice.checked = window.mercury.remembered("keys") !== "off";
    choice.addEventListener("change", () => window.mercury.remember("keys", choice.checked ? "on" : "off"));
    document.getElementById("keys-show").addEventListener("click", keys["?"]);
  });
}

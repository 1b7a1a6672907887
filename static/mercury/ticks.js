// Selects all rows of a page at once, and says how many are selected. Each box works without this.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("[data-ticks]");
  if (!form) return;
  const [all, boxes] = [form.querySelector("[data-tick-all]"), [...form.querySelectorAll("input[name=mail]")]];

  function show() {
    const ticked = boxes.filter((box) => box.checked).length;
    form.querySelector("[data-ticked]").textContent = ticked ? `${ticked} of ${boxes.length} selected` : "";
    all.checked = ticked === boxes.length;
    all.indeterminate = ticked > 0 && !all.checked;
  }

  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    show();
  });
  form.addEventListener("change", show);
  show();
});

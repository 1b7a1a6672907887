// Where the time went, while it goes on: the last bar grows with the clock, and the axis with it. The server draws the rest.
"use strict";
{
  const NICE = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 3600, 21600, 86400];
  const SVG = "http://www.w3.org/2000/svg";
  const begun = new WeakMap();

  function part(name, attributes, words) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (words !== undefined) made.textContent = words;
    return made;
  }

  function tickWords(seconds) {
    if (seconds < 60) return seconds ? mercury.durationWords(seconds) : "0";
    return seconds < 3600 ? `${Number((seconds / 60).toPrecision(6))} min` : `${Number((seconds / 3600).toPrecision(6))} h`;
  }

  function grown(row) {
    const length = Number(row.dataset.length);
    if (row.dataset.goesOn === undefined) return length;
    if (!begun.has(row)) begun.set(row, performance.now());
    return length + (performance.now() - begun.get(row)) / 1000;
  }

  function draw(list) {
    const rows = [...list.querySelectorAll("[data-start]")];
    const lengths = rows.map(grown);
    const end = Math.max(0.001, ...rows.map((row, number) => Number(row.dataset.start) + lengths[number]));
    const step = NICE.find((nice) => end / nice <= 5) ?? end;
    const ticks = Array.from({ length: Math.floor(end / step) + 1 }, (_, number) => number * step);
    const scale = 96 / end; // percent a second; the rest is room for the last label
    rows.forEach((row, number) => {
      const [svg, bar] = [row.querySelector("svg"), row.querySelector("rect")];
      bar.setAttribute("x", `${Number(row.dataset.start) * scale}%`);
      bar.setAttribute("width", `${Math.max(0.4, lengths[number] * scale)}%`);
      for (const line of svg.querySelectorAll("line")) line.remove();
      svg.prepend(...ticks.map((tick) => part("line", { x1: `${tick * scale}%`, x2: `${tick * scale}%`, y1: -4, y2: 26 })));
      if (row.dataset.goesOn !== undefined) row.querySelector(".length").textContent = mercury.durationWords(lengths[number]);
    });
    list.querySelector(".axis svg").replaceChildren(
      ...ticks.map((tick) => part("text", { x: `${tick * scale}%`, y: 14 }, tickWords(tick))),
    );
  }

  function grow() {
    const isHeard = document.getElementById("live")?.dataset.tone === "ok"; // paused or lost: as it was last heard
    for (const list of document.querySelectorAll("[data-spans]")) {
      const goesOn = list.querySelector("[data-goes-on]");
      if (goesOn && !begun.has(goesOn)) grown(goesOn);
      if (goesOn && isHeard && !document.hidden) draw(list);
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    grow();
    setInterval(grow, 1000);
    document.addEventListener("htmx:load", grow);
  });
}

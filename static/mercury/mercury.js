// Small things that every page shares: copy buttons, tabs, local times. Nothing depends on it.
"use strict";
{
  // Copy

  async function copy(button) {
    const source = button.dataset.copy ? document.getElementById(button.dataset.copy).textContent : location.href;
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(source.trim());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy";
    }
    setTimeout(() => { button.textContent = before; }, 2000);
  }

  // Tabs: without this script the panels are below each other and the links jump to them

  function select(tabs, tab, focus) {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
    }
    if (focus) {
      tab.focus();
      history.replaceState(history.state, "", tab.hash);
    }
  }

  function makeTabs(list) {
    const tabs = [...list.querySelectorAll("a")];
    list.setAttribute("role", "tablist");
    for (const tab of tabs) {
      const panel = document.getElementById(tab.hash.slice(1));
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", panel.id);
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-label", tab.textContent);
      panel.tabIndex = 0;
      tab.addEventListener("click", (event) => { event.preventDefault(); select(tabs, tab, true); });
    }
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const at = tabs.indexOf(document.activeElement);
      const to = step ? (at + step + tabs.length) % tabs.length : { Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined || at < 0) return;
      event.preventDefault();
      select(tabs, tabs[to], true);
    });
    select(tabs, tabs.find((tab) => tab.hash === location.hash) || tabs[0], false);
    list.closest("[data-tabs]").classList.add("tabs-ready");
  }

  // Times: UTC as the server writes them, or the zone of this browser; the zone is always written

  const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
  const zones = {
    clock,
    day: { day: "numeric", month: "short", ...clock },
    full: { day: "numeric", month: "short", year: "numeric", ...clock },
  };

  function zoneName(moment) {
    return new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" })
      .formatToParts(moment).find((part) => part.type === "timeZoneName").value;
  }

  // What is shown on hover: to the millisecond, as the server writes it
  function exact(moment) {
    const pad = (number, length = 2) => String(number).padStart(length, "0");
    const day = `${moment.getFullYear()}-${pad(moment.getMonth() + 1)}-${pad(moment.getDate())}`;
    const time = `${pad(moment.getHours())}:${pad(moment.getMinutes())}:${pad(moment.getSeconds())}`;
    return `${day} ${time}.${pad(moment.getMilliseconds(), 3)} ${zoneName(moment)}`;
  }

  function showTimes(root) {
    const local = remembered("zone") === "local";
    for (const time of root.querySelectorAll("time[title]")) {
      time.dataset.utcTitle ??= time.title;
      time.title = local ? exact(new Date(time.dateTime)) : time.dataset.utcTitle;
    }
    for (const time of root.querySelectorAll("time[data-moment]")) {
      time.dataset.utc ??= time.textContent;
      const moment = new Date(time.dateTime);
      time.textContent = local
        ? `${new Intl.DateTimeFormat("en-GB", zones[time.dataset.moment]).format(moment)} ${zoneName(moment)}`
        : time.dataset.utc;
    }
    for (const button of document.querySelectorAll("[data-zone]")) {
      button.setAttribute("aria-pressed", String((button.dataset.zone === "local") === local));
    }
  }

  // A choice of time zones that nobody has made yet begins with the zone of this browser

  function chooseZone() {
    const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
    for (const select of document.querySelectorAll("select[data-own-zone]")) {
      if ([...select.options].some((option) => option.value === timeZone)) select.value = timeZone;
    }
  }

  function age(seconds) {
    if (seconds < 1) return "now";
    if (seconds < 60) return `${Math.floor(seconds)} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} d ago`;
  }

  function showAges() {
    if (document.hidden) return;
    for (const time of document.querySelectorAll("time[data-age]")) {
      const words = age((Date.now() - new Date(time.dateTime)) / 1000);
      if (time.textContent !== words) time.textContent = words;
    }
  }

  // Durations that go on: the server says how long it was when it answered, this clock how long ago that is

  const begun = new WeakMap();

  function durationWords(seconds) {
    if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
    if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
    const whole = Math.round(seconds);
    if (whole < 3600) return whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole / 60} min`;
    const minutes = Math.round(seconds / 60);
    const hours = Math.floor(minutes / 60);
    if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
    return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${hours / 24} d`;
  }

  function showPassing() {
    const now = performance.now() / 1000;
    for (const place of document.querySelectorAll("[data-passing]")) {
      const said = Number(place.dataset.passing);
      if (!begun.has(place)) begun.set(place, now - said);
      const seconds = now - begun.get(place);
      if (document.getElementById("live")?.dataset.tone !== "ok") continue; // paused or lost: as it was last heard
      place.textContent = durationWords(Math.max(0, said < 0 ? -seconds : seconds));
    }
  }

  // The reasons of each choice, all open or all shut

  function showDecisions(root) {
    const choice = document.getElementById("decisions");
    if (!choice) return;
    choice.checked = remembered("decisions") !== "off";
    for (const reasons of root.querySelectorAll("details.why")) reasons.open = choice.checked;
  }

  // What a browser remembers is a convenience: private windows may refuse it

  function remembered(name) {
    try { return localStorage.getItem(`mercury.${name}`); } catch { return null; }
  }

  function remember(name, value) {
    try { localStorage.setItem(`mercury.${name}`, value); } catch { /* it holds for this page only */ }
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-tabs] [data-tablist]").forEach(makeTabs);
    showTimes(document);
    chooseZone();
    showPassing();
    showDecisions(document);
    document.getElementById("decisions")?.addEventListener("change", (event) => {
      remember("decisions", event.target.checked ? "on" : "off");
      showDecisions(document);
    });
    setInterval(() => { showAges(); showPassing(); }, 1000);
    document.querySelector("[data-focus]")?.focus();
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button?.matches("[data-copy], [data-copy-link]")) copy(button);
      if (button?.matches("[data-zone]")) {
        remember("zone", button.dataset.zone);
        showTimes(document);
      }
    });
    document.addEventListener("htmx:load", (event) => {
      showTimes(event.detail.elt.parentElement || document);
      showPassing();
      if (event.detail.elt.matches(".step")) showDecisions(event.detail.elt);
    });
  });

  window.mercury = { remember, remembered, durationWords };
}

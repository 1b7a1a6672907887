// Asks for news of an email while it moves: every 2 s, after ten quiet answers (or none) ever slower up to 30 s, never in a
// hidden tab. The server decides what is new and when it ends: its last answer carries no poller.
"use strict";
{
  const [SHORTEST, LONGEST, PATIENCE] = [1700, 30000, 10]; // with the way there and back, news is 2 s old at most
  const state = { quiet: 0, paused: false, lost: false, timer: 0, due: Infinity };
  const poller = () => document.getElementById("poller");
  const shortest = () => Math.max(SHORTEST, (poller()?.dataset.every ?? 0) * 1000); // the overview asks every 5 s

  function say(words, tone) {
    const place = document.getElementById("live-words");
    if (!place || place.textContent === words) return;
    place.textContent = words;
    document.getElementById("live").dataset.tone = tone;
  }

  function wait() {
    const slower = Math.min(LONGEST, shortest() * 1.5 ** Math.max(0, state.quiet - PATIENCE));
    return Math.min(slower, Math.max(state.due - performance.now(), shortest()));
  }

  // An email that waits says when its next round begins: from then on it is looked at often again
  function expect() {
    const dueIn = poller()?.dataset.dueIn;
    if (dueIn !== undefined && state.poller !== poller()) state.due = performance.now() + dueIn * 1000;
    state.poller = poller();
    if (performance.now() < state.due) return;
    state.due = Infinity;
    state.quiet = 0;
  }

  function show() {
    if (!poller()) return;
    const button = document.getElementById("live-pause");
    button.hidden = false;
    button.textContent = state.paused ? "Resume" : "Pause";
    if (state.lost) say("Connection lost, retrying", "bad");
    else if (state.paused || document.hidden) say("Paused", "neutral");
    else say(`Live · every ${Math.round(wait() / 1000)} s`, "ok");
  }

  function plan() {
    clearTimeout(state.timer);
    expect();
    show();
    if (!poller() || state.paused || document.hidden) return;
    state.timer = setTimeout(ask, wait());
  }

  function ask() {
    clearTimeout(state.timer);
    if (poller()) htmx.trigger(poller(), "mercury:ask");
  }

  function toggle() {
    state.paused = !state.paused;
    if (state.paused) plan();
    else ask();
    show();
  }

  // The tab says what the badge says
  function follow() {
    const shown = document.getElementById("state")?.dataset;
    if (!shown?.title) return;
    document.title = shown.title;
    const icon = document.querySelector('link[rel="icon"]');
    if (icon && icon.getAttribute("href") !== shown.icon) icon.setAttribute("href", shown.icon);
  }

  document.addEventListener("DOMContentLoaded", () => {
    follow();
    if (!poller()) return;
    document.body.addEventListener("htmx:afterRequest", (event) => {
      const status = event.detail.xhr.status;
      state.lost = !(status >= 200 && status < 400);
      state.quiet = status === 204 || state.lost ? state.quiet + 1 : 0;
      plan();
    });
    document.body.addEventListener("htmx:afterSettle", () => { follow(); plan(); });
    document.addEventListener("visibilitychange", () => {
      state.quiet = 0;
      if (document.hidden || state.paused) plan();
      else ask();
    });
    document.getElementById("live-pause").addEventListener("click", toggle);
    document.addEventListener("mercury:pause", toggle);
    plan();
  });
}

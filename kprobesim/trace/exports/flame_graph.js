// Zooms and searches a flame graph. What is shown is in the address behind "#", so that a link keeps
// it: zoom=NUMBER of a frame, search=REGULAR EXPRESSION.
(() => {
  "use strict";
  const svg = document.currentScript.closest("svg");
  const MARGIN = 10, LETTER = 7.25;
  const width = svg.viewBox.baseVal.width - 2 * MARGIN;
  const total = Number(svg.dataset.total);
  const find = (id) => svg.querySelector("#" + id);
  const reset = find("reset"), matched = find("matched"), detail = find("detail");
  const input = find("search");
  const frames = [...svg.querySelectorAll(".frame")].map((element) => ({
    element,
    rect: element.querySelector("rect"),
    label: element.querySelector("text"),
    about: element.querySelector("title").textContent,
    name: element.dataset.name,
    start: Number(element.dataset.start),
    count: Number(element.dataset.count),
    y: Number(element.querySelector("rect").getAttribute("y")),
  }));
  const state = { zoom: 0, search: "" };

  const short = (text, pixels) => {
    const letters = Math.floor((pixels - 8) / LETTER);
    if (letters < 3) return "";
    return text.length <= letters ? text : text.slice(0, letters - 1) + "…";
  };

  const showZoom = () => {
    const to = frames[state.zoom];
    const end = to.start + to.count, scale = width / to.count;
    for (const frame of frames) {
      const last = frame.start + frame.count;
      const below = frame.y > to.y && frame.start <= to.start && last >= end;
      const above = frame.y <= to.y && frame.start >= to.start && last <= end;
      frame.element.classList.toggle("hidden", !below && !above);
      frame.element.classList.toggle("parent", below);
      const x = below ? MARGIN : MARGIN + (frame.start - to.start) * scale;
      const wide = below ? width : frame.count * scale;
      frame.rect.setAttribute("x", x);
      frame.rect.setAttribute("width", wide);
      frame.label.setAttribute("x", x + 4);
      frame.label.textContent = short(frame.name, wide);
    }
  };

  const showSearch = () => {
    let wanted = null;
    matched.textContent = "";
    if (state.search) {
      try {
        wanted = new RegExp(state.search);
      } catch (error) {
        matched.textContent = "no regular expression: " + state.search;
      }
    }
    const spans = [];
    for (const frame of frames) {
      const is = wanted !== null && wanted.test(frame.name);
      frame.element.classList.toggle("match", is);
      if (is) spans.push([frame.start, frame.start + frame.count]);
    }
    if (wanted === null) return;
    // A stack in which several functions match counts once.
    spans.sort((a, b) => a[0] - b[0]);
    let sum = 0, reached = 0;
    for (const [from, to] of spans) {
      sum += Math.max(0, to - Math.max(from, reached));
      reached = Math.max(reached, to);
    }
    matched.textContent = `matched: ${sum.toLocaleString("en")} of ${total.toLocaleString("en")}, `
      + `${(100 * sum / total).toFixed(2)}%`;
  };

  const show = () => {
    showZoom();
    showSearch();
    reset.classList.toggle("hidden", state.zoom === 0 && state.search === "");
  };

  const go = (change) => {
    Object.assign(state, change);
    const words = new URLSearchParams();
    if (state.zoom) words.set("zoom", state.zoom);
    if (state.search) words.set("search", state.search);
    try {
      history.replaceState(null, "", "#" + words);
    } catch (error) { /* a document that has no address of its own */ }
    show();
  };

  const read = () => {
    const words = new URLSearchParams(location.hash.slice(1));
    const zoom = Number(words.get("zoom"));
    state.zoom = Number.isInteger(zoom) && zoom > 0 && zoom < frames.length ? zoom : 0;
    state.search = words.get("search") || "";
    input.value = state.search;
    show();
  };

  if (frames.length === 0) {
    detail.textContent = "nothing was recorded";
    return;
  }
  frames.forEach((frame, number) => {
    frame.element.addEventListener("click", () => go({ zoom: number }));
    frame.element.addEventListener("mouseover", () => { detail.textContent = frame.about; });
    frame.element.addEventListener("mouseout", () => { detail.textContent = ""; });
  });
  input.addEventListener("input", () => go({ search: input.value }));
  reset.addEventListener("click", () => {
    input.value = "";
    go({ zoom: 0, search: "" });
  });
  window.addEventListener("hashchange", read);
  window.addEventListener("keydown", (event) => {
    if (event.key === "Escape") reset.dispatchEvent(new Event("click"));
    if (event.key === "/" && document.activeElement !== input) {
      event.preventDefault();
      input.focus();
    }
  });
  read();
})();

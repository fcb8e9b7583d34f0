"use strict";
// What the page can do beyond being read: the map by margin, the filter, reading of curves, and
// opening what a link leads to. Without it everything is there all the same.
(() => {
  const all = (what, where = document) => [...where.querySelectorAll(what)];
  const one = (name) => document.getElementById(name);
  for (const part of all(".controls")) part.hidden = false;

  // ---- the map by the margin of a metric
  const maps = JSON.parse(one("margins").textContent);
  const colour = one("colour"), cells = all("td.g");
  const before = cells.map((cell) => cell.className);
  const words = cells.map((cell) => cell.textContent);
  const models = new Set(maps.map((map) => map.model));
  maps.forEach((map, number) => {
    const option = document.createElement("option");
    option.value = number;
    option.textContent = "margin of " + map.name + (models.size > 1 ? " (" + map.model + ")" : "");
    colour.append(option);
  });
  const band = (margin) =>
    margin === null ? "mx" : margin < 0 ? "m0" : margin < 10 ? "m1" : margin < 30 ? "m2" : margin < 100 ? "m3" : "m4";
  const short = (margin) => {
    if (margin === null) return "–";
    const size = Math.abs(margin);
    const text = size < 10 ? "." + size : String(Math.min(Math.round(size / 10), 999));
    return (margin < 0 ? "−" : "") + (size === 0 ? "0" : text);
  };
  const paint = () => {
    const map = maps[colour.value];
    cells.forEach((cell, number) => {
      const margin = map && map.margins[number];
      const text = map ? short(margin) : words[number];
      const inner = cell.firstElementChild || cell;
      cell.className = map ? "g " + band(margin) : before[number];
      inner.textContent = text;
      cell.title = map && margin !== null ? (margin / 10).toFixed(1) + " %" : "";
    });
    one("legend-verdict").hidden = Boolean(map);
    one("legend-margin").hidden = !map;
  };
  if (maps.length) colour.addEventListener("change", paint);
  else colour.closest(".controls").hidden = true;

  // ---- which hosts are shown
  const hosts = all("details.host"), search = one("search"), bad = one("onlybad");
  const filter = () => {
    const wanted = search.value.trim().toLowerCase();
    let count = 0;
    for (const host of hosts) {
      const fits = host.dataset.host.toLowerCase().includes(wanted);
      host.hidden = !fits || (bad.checked && !host.classList.contains("bad"));
      count += !host.hidden;
    }
    one("matches").textContent = count + " of " + hosts.length + " hosts";
  };
  search.addEventListener("input", filter);
  bad.addEventListener("change", filter);
  one("openall").addEventListener("click", () => {
    for (const part of all("details.host.bad, details.place.bad")) part.open = true;
  });

  // ---- a link opens what it leads to
  const reveal = () => {
    const target = one(decodeURIComponent(location.hash.slice(1)));
    for (let part = target; part; part = part.parentElement) {
      if (part.matches("details")) part.open = true;
      part.hidden = false;
    }
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  if (location.hash) reveal();

  // ---- printed: what is not ok is unfolded, with its evidence
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details.bad, .bad details.evidence").filter((part) => !part.open);
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });

  // ---- reading of curves, by pointer or arrow keys
  const left = 34, right = 276, top = 8, base = 110;
  const points = (line) =>
    line.getAttribute("points").split(" ").map((pair) => pair.split(",").map(Number));
  const read = (svg, x) => {
    const [first, last] = svg.dataset.times.split(" ").map(Number);
    const [low, high] = svg.dataset.values.split(" ").map(Number);
    const told = [];
    let at = null;
    for (const line of all("polyline.line", svg)) {
      let best = null;
      for (const point of points(line))
        if (!best || Math.abs(point[0] - x) < Math.abs(best[0] - x)) best = point;
      if (!best || Math.abs(best[0] - x) > 6) continue;
      const value = (low + ((base - best[1]) / (base - top)) * (high - low)) * Number(line.dataset.by);
      told.push(line.dataset.name + " " + Number(value.toPrecision(3)) + " " + line.dataset.unit);
      at = best[0];
    }
    let cross = svg.querySelector(".cross");
    if (!cross) {
      cross = document.createElementNS("http://www.w3.org/2000/svg", "line");
      cross.setAttribute("class", "cross");
      cross.setAttribute("y1", top);
      cross.setAttribute("y2", base);
      svg.append(cross);
    }
    cross.setAttribute("x1", x);
    cross.setAttribute("x2", x);
    const minutes = (first + ((x - left) / (right - left)) * (last - first)) / 60;
    const where = svg.closest("figure").querySelector(".read");
    where.textContent = at === null ? "" : minutes.toFixed(1) + " min: " + told.join(", ");
  };
  const clear = (svg) => {
    const cross = svg.querySelector(".cross");
    if (cross) cross.remove();
    svg.closest("figure").querySelector(".read").textContent = "";
  };
  for (const svg of all(".curve svg")) {
    let x = right;
    const go = (to) => {
      x = Math.max(left, Math.min(right, to));
      read(svg, x);
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      go(((event.clientX - box.left) / box.width) * 280);
    });
    svg.addEventListener("pointerleave", () => clear(svg));
    svg.addEventListener("blur", () => clear(svg));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -4, ArrowRight: 4, Home: -400, End: 400 }[event.key];
      if (step) {
        event.preventDefault();
        go(x + step);
      }
    });
  }
})();

"use strict";
// Everything stands on the page before this runs: it smooths curves, reads values off, sorts tables, and pages through texts.
const numbers = (text) => text.split(" ").map(Number);
const shown = (value) => (Math.abs(value) >= 1e4 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toPrecision(3) : String(+value.toPrecision(4)));
const pointsOf = (line) => line.getAttribute("points").split(" ").map((pair) => pair.split(",").map(Number));

// An exponential moving mean, without the pull of its start. Places are linear in values, or in their logarithms.
function smoothed(points, weight) {
  let mean = 0, sum = 0;
  return points.map(([x, y]) => {
    mean = weight * mean + (1 - weight) * y;
    sum = weight * sum + (1 - weight);
    return [x, mean / sum];
  });
}

function smooth(weight) {
  for (const line of document.querySelectorAll("polyline[data-smooth]")) {
    if (!line.raw) line.raw = pointsOf(line);
    if (line.raw.length < 8) continue;
    if (!line.soft) {
      line.soft = line.cloneNode();
      line.soft.removeAttribute("data-smooth");
      line.soft.removeAttribute("data-name");
      line.after(line.soft);
    }
    line.soft.setAttribute("points", smoothed(line.raw, weight).map((p) => p.map((v) => +v.toFixed(2)).join(",")).join(" "));
    line.soft.toggleAttribute("hidden", weight === 0);
    line.classList.toggle("raw-faint", weight > 0);
  }
}

for (const slider of document.querySelectorAll("input[data-smoothing]")) {
  const label = document.getElementById(slider.dataset.smoothing);
  const apply = () => { label.textContent = slider.value; smooth(Number(slider.value)); };
  slider.closest(".controls").hidden = false;
  slider.addEventListener("input", apply);
  apply();
}

for (const svg of document.querySelectorAll(".chart > svg[data-x]")) {
  const [x0, x1, left, right] = numbers(svg.dataset.x), [y0, y1, bottom, top] = numbers(svg.dataset.y);
  const log = svg.hasAttribute("data-log");
  const readout = document.createElement("div");
  readout.className = "readout";
  readout.setAttribute("aria-hidden", "true");
  svg.after(readout);
  const guide = svg.querySelector(".guide");
  const lines = [...svg.querySelectorAll("polyline[data-name]:not(.faint)")];
  const value = (y) => {
    const share = (y - bottom) / (top - bottom);
    return log ? y0 * (y1 / y0) ** share : y0 + share * (y1 - y0);
  };
  const leave = () => { readout.textContent = ""; guide.setAttribute("x1", -9); guide.setAttribute("x2", -9); };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const place = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    if (place < left || place > right) return leave();
    const read = lines.map((line) => {
      const nearest = pointsOf(line).reduce((a, b) => (Math.abs(b[0] - place) < Math.abs(a[0] - place) ? b : a));
      return `${line.dataset.name} ${shown(value(nearest[1]))}`;
    });
    guide.setAttribute("x1", place);
    guide.setAttribute("x2", place);
    readout.textContent = `at ${shown(x0 + (place - left) / (right - left) * (x1 - x0))}: ${read.slice(0, 6).join(" · ")}`;
  });
  svg.addEventListener("pointerleave", leave);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)], [m, n] = [Number(x), Number(y)];
        const missing = (Number.isNaN(m) ? 1 : 0) - (Number.isNaN(n) ? 1 : 0);
        if (x !== "" && y !== "" && !Number.isNaN(m) && !Number.isNaN(n)) return sign * (m - n);
        return missing || sign * x.localeCompare(y, undefined, { numeric: true });  // what has no value stays below
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

for (const group of document.querySelectorAll(".over-time")) {
  const stages = [...group.children];
  if (stages.length < 2) continue;
  const controls = document.createElement("div"), label = document.createElement("label"), slider = document.createElement("input");
  controls.className = "controls";
  Object.assign(slider, { type: "range", min: 0, max: stages.length - 1, value: stages.length - 1 });
  const show = () => {
    stages.forEach((stage, number) => { stage.hidden = number !== Number(slider.value); });
    slider.setAttribute("aria-valuetext", stages[slider.value].firstChild.textContent);
  };
  label.append("time ", slider);
  controls.append(label);
  group.before(controls);
  slider.addEventListener("input", show);
  show();
}

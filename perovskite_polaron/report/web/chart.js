"use strict";
// A chart of panels over one energy axis: curves, a readout under the pointer, zoom. The caller says
// what is drawn (show); nothing is computed here but where it lands on the screen.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 58, right: 12, top: 8, bottom: 40 }, GAP = 14;

function escaped(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/"/g, "&quot;");
}

// Round numbers that part an interval into about `count` pieces, and their decimals.
function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((digit) => digit * power >= raw * 0.999) * power;
  const found = [];
  for (let x = Math.ceil(low / step - 1e-9) * step; x <= high + 1e-9 * step; x += step) {
    found.push(Math.abs(x) < 1e-9 * step ? 0 : x);
  }
  return { at: found, decimals: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

function signed(value, decimals) {
  return (value < 0 ? "−" : "") + Math.abs(value).toFixed(decimals);
}

// The first index whose energy is not below x.
function indexAt(energy, x) {
  let low = 0, high = energy.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (energy[middle] < x) low = middle + 1; else high = middle;
  }
  return low;
}

function valueAt(energy, y, x) {
  if (x < energy[0] || x > energy[energy.length - 1]) return null;
  const i = Math.max(1, indexAt(energy, x));
  const part = (x - energy[i - 1]) / (energy[i] - energy[i - 1]);
  return y[i - 1] + part * (y[i] - y[i - 1]);
}

class Chart {
  // host: an empty element. read: called with the energy under the cursor, or null.
  constructor(host, label, read) {
    this.host = host;
    this.label = label;
    this.read = read;
    this.panels = [];
    this.cursor = null;
    host.tabIndex = 0;
    host.setAttribute("role", "application");
    host.setAttribute("aria-label", label + ". Arrow keys read values, plus and minus zoom, " +
      "Home and End go to the ends, Escape shows everything.");
    host.addEventListener("pointermove", (event) => this.moved(event));
    host.addEventListener("pointerdown", (event) => this.pressed(event));
    host.addEventListener("pointerup", (event) => this.released(event));
    host.addEventListener("pointercancel", () => this.dropped());
    host.addEventListener("pointerleave", () => { if (!this.drag) this.point(null); });
    host.addEventListener("dblclick", () => this.zoom(...this.whole));
    host.addEventListener("keydown", (event) => this.typed(event));
    new ResizeObserver(() => this.draw()).observe(host);
  }

  // panels: [{label, unit, curves: [{name, energy, y, style, points}], marks: [{x, text, soft}]}]
  show(panels, whole, axis) {
    const same = this.whole && whole[0] === this.whole[0] && whole[1] === this.whole[1];
    this.panels = panels;
    this.axis = axis;
    this.whole = whole;
    if (!same) { this.range = whole; this.cursor = null; }
    this.draw();
  }

  zoom(low, high) {
    const [first, last] = this.whole, least = (last - first) / 200;
    if (high - low < least) return;
    this.range = [Math.max(low, first), Math.min(high, last)];
    this.draw();
  }

  scale(factor) {
    const [low, high] = this.range, middle = this.cursor ?? (low + high) / 2;
    this.zoom(middle - (middle - low) * factor, middle + (high - middle) * factor);
  }

  draw() {
    const width = this.host.clientWidth;
    if (!width || !this.range) return;
    // Letters grow with the window; so does what surrounds them.
    const em = parseFloat(getComputedStyle(this.host).fontSize) / 16;
    this.em = em;
    const narrow = width < 480 * em, each = this.panels.map((p) => (p.small ? 0.62 : 1));
    const unit = narrow ? 150 * em : Math.min(230 * em, Math.max(165 * em, width * 0.24));
    const left = MARGIN.left * em, right = width - MARGIN.right * em;
    this.toX = (x) => left + (x - this.range[0]) / (this.range[1] - this.range[0]) * (right - left);
    this.toEnergy = (px) => this.range[0] + (px - left) / (right - left) *
      (this.range[1] - this.range[0]);
    const parts = [], across = ticks(...this.range, narrow ? 4 : 7);
    let top = MARGIN.top * em;
    this.boxes = this.panels.map((panel, i) => {
      const box = { top, bottom: top + unit * each[i], panel };
      top = box.bottom + GAP * em;
      parts.push(this.panel(box, left, right, across));
      return box;
    });
    const bottom = top - GAP * em, height = bottom + MARGIN.bottom * em;
    for (const x of across.at) {
      parts.push(`<text class="tick" text-anchor="middle" x="${this.toX(x).toFixed(1)}" ` +
        `y="${bottom + 16 * em}">${signed(x, across.decimals)}</text>`);
    }
    parts.push(`<text class="axis" text-anchor="middle" x="${(left + right) / 2}" ` +
      `y="${bottom + 34 * em}">${escaped(this.axis)}</text>`, '<g class="cursor"></g>');
    this.host.innerHTML = `<svg xmlns="${SVG}" width="${width}" height="${height}" ` +
      `viewBox="0 0 ${width} ${height}" aria-hidden="true">${parts.join("")}</svg>`;
    this.point(this.cursor);
  }

  panel(box, left, right, across) {
    const { panel, top, bottom } = box, [first, last] = this.range;
    let low = Infinity, high = -Infinity;
    for (const { energy, y } of panel.curves) {
      const from = Math.max(0, indexAt(energy, first) - 1);
      for (let i = from; i < energy.length && energy[i] <= last; i++) {
        low = Math.min(low, y[i]);
        high = Math.max(high, y[i]);
      }
    }
    if (!(high > low)) { low = (Number.isFinite(low) ? low : 0) - 1; high = low + 2; }
    const room = 0.07 * (high - low);
    low -= room;
    high += room * (panel.marks.length ? 3 : 1);
    box.toY = (y) => bottom - (y - low) / (high - low) * (bottom - top);
    const upwards = ticks(low, high, 4), parts = [], clip = `clip-${Math.round(top)}`;
    parts.push(`<clipPath id="${clip}"><rect x="${left}" y="${top}" width="${right - left}" ` +
      `height="${bottom - top}"/></clipPath>`);
    for (const x of across.at) {
      parts.push(`<path class="grid" d="M${this.toX(x).toFixed(1)} ${top}V${bottom}"/>`);
    }
    for (const y of upwards.at) {
      const place = box.toY(y).toFixed(1);
      parts.push(`<path class="${y === 0 ? "zero" : "grid"}" d="M${left} ${place}H${right}"/>`,
        `<text class="tick" text-anchor="end" x="${left - 6 * this.em}" y="${+place + 4 * this.em}">` +
        `${signed(y, upwards.decimals)}</text>`);
    }
    for (const mark of panel.marks) {
      if (mark.x < first || mark.x > last) continue;
      const x = this.toX(mark.x).toFixed(1), kind = mark.soft ? " soft" : "";
      parts.push(`<path class="mark${kind}" d="M${x} ${top + 20 * this.em}V${bottom}"/>`,
        `<text class="sign${kind}" text-anchor="middle" x="${x}" y="${top + 15 * this.em}">${mark.text}` +
        "</text>");
    }
    parts.push(`<g clip-path="url(#${clip})">`);
    for (const curve of panel.curves) parts.push(this.curve(curve, box));
    parts.push(`</g><rect class="frame" x="${left}" y="${top}" width="${right - left}" ` +
      `height="${bottom - top}"/>`);
    const middle = (top + bottom) / 2;
    parts.push(`<text class="axis" text-anchor="middle" transform="translate(${13 * this.em} ${middle}) ` +
      `rotate(-90)">${escaped(panel.label)}</text>`);
    return parts.join("");
  }

  curve({ energy, y, style, points, error }, box) {
    const [first, last] = this.range, from = Math.max(0, indexAt(energy, first) - 1), found = [];
    for (let i = from; i < energy.length; i++) {
      const place = `${this.toX(energy[i]).toFixed(1)} ${box.toY(y[i]).toFixed(1)}`;
      found.push(points ? `M${place}h0` : place);
      if (energy[i] > last) break;
    }
    const d = points ? found.join("") : "M" + found.join("L");
    const bars = (error ?? []).map((e, i) => `M${this.toX(energy[i]).toFixed(1)} ` +
      `${box.toY(y[i] - e).toFixed(1)}V${box.toY(y[i] + e).toFixed(1)}`).join("");
    return (bars && `<path class="bars ${style}" d="${bars}"/>`) + `<path class="curve ${style}${points ? " points" : ""}" d="${d}"/>`;
  }

  // Put the cursor at an energy (null: away) and read every curve there.
  point(energy) {
    this.cursor = energy;
    const group = this.host.querySelector(".cursor");
    if (!group) return;
    if (energy === null || energy < this.range[0] || energy > this.range[1]) {
      group.innerHTML = "";
      this.read(null);
      return;
    }
    const x = this.toX(energy).toFixed(1), last = this.boxes[this.boxes.length - 1].bottom;
    const parts = [`<path class="hair" d="M${x} ${MARGIN.top * this.em}V${last}"/>`];
    for (const { panel, toY } of this.boxes) {
      for (const curve of panel.curves) {
        const y = valueAt(curve.energy, curve.y, energy);
        if (y !== null) {
          parts.push(`<circle class="dot ${curve.style}" cx="${x}" cy="${toY(y).toFixed(1)}" r="${4 * this.em}"/>`);
        }
      }
    }
    group.innerHTML = parts.join("");
    this.read(energy);
  }

  at(event) {
    const left = this.host.getBoundingClientRect().left;
    return Math.min(this.range[1], Math.max(this.range[0], this.toEnergy(event.clientX - left)));
  }

  moved(event) {
    if (!this.range) return;
    const energy = this.at(event);
    this.point(energy);
    if (this.drag) {
      const x = [this.drag, energy].map((e) => this.toX(e)).sort((a, b) => a - b);
      const last = this.boxes[this.boxes.length - 1].bottom;
      this.host.querySelector(".cursor").insertAdjacentHTML("beforeend",
        `<rect class="chosen" x="${x[0]}" y="${MARGIN.top * this.em}" width="${x[1] - x[0]}" ` +
        `height="${last - MARGIN.top * this.em}"/>`);
    }
  }

  pressed(event) {
    if (event.button !== 0 || event.pointerType === "touch") return;
    this.drag = this.at(event);
    this.host.setPointerCapture(event.pointerId);
  }

  released(event) {
    if (!this.drag) return;
    const ends = [this.drag, this.at(event)].sort((a, b) => a - b);
    this.drag = null;
    this.zoom(...ends);
  }

  dropped() {
    this.drag = null;
    this.point(null);
  }

  typed(event) {
    const [low, high] = this.range, step = (high - low) / (event.shiftKey ? 20 : 200);
    const here = this.cursor ?? (low + high) / 2;
    const actions = {
      ArrowLeft: () => this.point(Math.max(low, here - step)),
      ArrowRight: () => this.point(Math.min(high, here + step)),
      Home: () => this.point(low), End: () => this.point(high),
      "+": () => this.scale(0.5), "=": () => this.scale(0.5), "-": () => this.scale(2),
      Escape: () => { this.cursor = null; this.zoom(...this.whole); },
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[event.key]();
  }
}

// SPDX-License-Identifier: GPL-3.0-or-later
// The page that rsciio-tem inspect makes. Everything it shows is in the element "data"; texts from
// files reach the page by textContent only.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// ---- numbers of frames ----------------------------------------------------------------------

function unpacked(text, bits) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return bits === 16 ? new Uint16Array(bytes.buffer) : bytes;
}

const channels = {};
for (const one of data.channels) {
  channels[one.key] = { ...one, values: unpacked(one.data, one.bits), top: 2 ** one.bits - 1 };
}
const images = [];
for (const [key, label] of [["sum", "Sum"], ["bf", "Bright field"], ["adf", "Annular dark field"]]) {
  if (channels[key]) images.push({ key, label });
}
if (channels.row && channels.column) images.push({ key: "com", label: "Centre of mass" });

// ---- how frames are arranged ----------------------------------------------------------------

// line: stored frames per line; flyback: how many of them are not shown; first: the frame of the
// first position, negative if frames are missing there; candidate: the scan that is shown as it was
// decided, with its own number of lines, and its frames in runs if they are not regular
const state = { line: 1, flyback: 0, first: 0, snake: false, candidate: null, channel: images[0].key };

function geometry() {
  const chosen = state.candidate;
  if (chosen) return { columns: chosen.shape[0], lines: rows(chosen.shape) };
  const columns = Math.max(1, state.line - state.flyback);
  const lines = Math.max(0, Math.floor((data.frames - state.first + state.flyback) / state.line));
  return { columns, lines };
}

const rows = (shape) => shape.slice(1).reduce((product, n) => product * n, 1);

// The frame of each position, -1 where there is none; only as many lines as can be drawn.
function arranged() {
  const { columns, lines } = geometry();
  const known = Math.ceil((data.shown - state.first) / state.line);
  const shown = state.candidate && state.candidate.runs ? lines : clamp(known, 0, lines);
  const index = new Int32Array(columns * shown).fill(-1);
  if (state.candidate && state.candidate.runs) {
    for (const [position, frame, count] of state.candidate.runs) {
      for (let i = 0; i < count && position + i < index.length; i++) index[position + i] = frame + i;
    }
  } else {
    for (let row = 0, at = 0; row < shown; row++) {
      const begin = state.first + row * state.line;
      for (let column = 0; column < columns; column++, at++) {
        const back = state.snake && row % 2;
        index[at] = begin + (back ? columns - 1 - column : column);
      }
    }
  }
  for (let i = 0; i < index.length; i++) if (index[i] < 0 || index[i] >= data.shown) index[i] = -1;
  return { columns, lines, shown, index };
}

// How much lines resemble their neighbours, from -1 to 1; of very many lines some are looked at.
function resemblance({ columns, shown, index }) {
  const { values } = channels.sum, skip = columns * (Math.ceil(index.length / 2e5) - 1);
  let n = 0, a = 0, b = 0, aa = 0, bb = 0, ab = 0;
  for (let i = 0, column = 0; i + columns < index.length; i++) {
    if (++column > columns) { column = 1; i += skip; }
    const p = index[i], q = index[i + columns];
    if (!(p >= 0 && q >= 0)) continue;
    const x = values[p], y = values[q];
    n++; a += x; b += y; aa += x * x; bb += y * y; ab += x * y;
  }
  const spread = Math.sqrt((aa - a * a / n) * (bb - b * b / n));
  return shown > 1 && spread > 0 ? (ab - a * b / n) / spread : NaN;
}

// ---- drawing --------------------------------------------------------------------------------

const MAGMA = [[0, 0, 4], [29, 17, 71], [81, 18, 124], [131, 38, 129], [183, 55, 121],
  [230, 81, 100], [252, 137, 97], [254, 196, 136], [252, 253, 191]];

function palette(stops) {
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const place = i / 255 * (stops.length - 1), k = Math.min(Math.floor(place), stops.length - 2);
    const mix = (c) => Math.round(stops[k][c] + (place - k) * (stops[k + 1][c] - stops[k][c]));
    table[i] = 0xff000000 | mix(2) << 16 | mix(1) << 8 | mix(0);
  }
  return table;
}
const COLOURS = palette(MAGMA);

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function blankColour() {
  const hex = parseInt(css("--blank").slice(1), 16);
  return 0xff000000 | (hex & 255) << 16 | (hex >> 8 & 255) << 8 | hex >> 16;
}

// Prepare a canvas for its size on the screen; returns its context, in pixels of the page.
function sized(canvas, height) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth || 300;
  canvas.style.height = `${height}px`;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return [context, width];
}

function hue(angle, brightness) {
  const part = (shift) => {
    const x = ((angle / (2 * Math.PI) + shift) % 1 + 1) % 1 * 6;
    return Math.round(255 * brightness * clamp(Math.abs(x - 3) - 1, 0, 1));
  };
  return 0xff000000 | part(2 / 3) << 16 | part(1 / 3) << 8 | part(0);
}

// Centre of mass as colours: the table is by frame, since arranging changes nothing of it.
let wheel = null;
function drawKey() {
  const size = $("key").width, picture = new ImageData(size, size), pixels = new Uint32Array(picture.data.buffer);
  for (let y = 0, at = 0; y < size; y++) {
    for (let x = 0; x < size; x++, at++) {
      const dy = (y + 0.5) / size * 2 - 1, dx = (x + 0.5) / size * 2 - 1, far = Math.hypot(dy, dx);
      if (far < 1) pixels[at] = hue(Math.atan2(dy, dx), far);
    }
  }
  $("key").getContext("2d").putImageData(picture, 0, 0);
}

function colourWheel() {
  if (wheel) return wheel;
  const y = channels.row, x = channels.column, n = y.values.length;
  const size = (c) => (c.high - c.low) / (c.top - 1);
  let my = 0, mx = 0, count = 0;
  for (let i = 0; i < n; i++) if (y.values[i] && x.values[i]) { my += y.values[i]; mx += x.values[i]; count++; }
  my /= count || 1; mx /= count || 1;
  let square = 0;
  for (let i = 0; i < n; i++) if (y.values[i]) square += ((y.values[i] - my) * size(y)) ** 2 + ((x.values[i] - mx) * size(x)) ** 2;
  const usual = Math.sqrt(square / (count || 1)) || 1;
  wheel = new Uint32Array(n);
  for (let i = 0; i < n; i++) {
    const dy = (y.values[i] - my) * size(y), dx = (x.values[i] - mx) * size(x);
    wheel[i] = y.values[i] ? hue(Math.atan2(dy, dx), Math.min(1, Math.hypot(dy, dx) / usual / 2)) : 0xff000000;
  }
  return wheel;
}

const buffer = document.createElement("canvas");
let drawn = null; // where the image lies on the canvas, and the arrangement

function drawScan() {
  const arrangement = arranged(), { columns, lines, shown, index } = arrangement;
  const height = Math.max(1, shown);
  buffer.width = columns; buffer.height = height;
  const picture = new ImageData(columns, height), pixels = new Uint32Array(picture.data.buffer);
  const none = blankColour();
  let blanks = 0;
  if (state.channel === "com") {
    const table = colourWheel();
    for (let i = 0; i < index.length; i++) pixels[i] = index[i] < 0 ? (blanks++, none) : table[index[i]];
  } else {
    const { values, bits } = channels[state.channel], shift = bits - 8;
    for (let i = 0; i < index.length; i++) pixels[i] = index[i] < 0 ? (blanks++, none) : COLOURS[values[index[i]] >> shift];
  }
  buffer.getContext("2d").putImageData(picture, 0, 0);

  const room = $("scan").clientWidth || 300;
  const [context, width] = sized($("scan"), Math.round(Math.min(room, 560)));
  const tall = Math.round(Math.min(room, 560));
  const scale = Math.min(width / columns, tall / height);
  // a line longer than the canvas is tall is still to be seen: each axis is stretched to a tenth
  const w = Math.max(columns * scale, width / 10), h = Math.max(height * scale, tall / 10);
  const left = (width - w) / 2, top = (tall - h) / 2;
  context.imageSmoothingEnabled = scale < 1;
  context.drawImage(buffer, left, top, w, h);
  context.strokeStyle = css("--edge");
  context.strokeRect(left - 0.5, top - 0.5, w + 1, h + 1);
  drawn = { left, top, w, h, arrangement };

  const over = data.frames - state.first - ((lines - 1) * state.line + columns);
  const match = resemblance(arrangement);
  const words = [`${columns} × ${lines} positions (x, y)`];
  if (!(state.candidate && state.candidate.runs) && over > 0) words.push(`${over} frame${over > 1 ? "s" : ""} left over`);
  if (shown < lines) words.push(`${shown} lines shown`);
  else if (blanks) words.push(`${blanks} without a frame`);
  if (!isNaN(match)) words.push(`neighbouring lines match: ${match.toFixed(2)}`);
  $("shape").textContent = words.join(" · ");
}

// ---- how well lines match -------------------------------------------------------------------

const curve = { left: 34, right: 10, top: 24, bottom: 24, height: 200 };
const lengths = data.matches.length;

function curveScale() {
  const width = $("curve").clientWidth || 300;
  const most = Math.max(2, lengths - 1), log = most > 600;
  const span = width - curve.left - curve.right;
  const unit = (n) => log ? Math.log(Math.max(n, 2) / 2) / Math.log(most / 2) : (n - 2) / (most - 2 || 1);
  const back = (u) => log ? 2 * (most / 2) ** u : 2 + u * (most - 2);
  return { x: (n) => curve.left + span * unit(n), n: (x) => Math.round(clamp(back((x - curve.left) / span), 2, most)), most, log };
}

function drawCurve() {
  const [context, width] = sized($("curve"), curve.height);
  const { x, most, log } = curveScale(), bottom = curve.height - curve.bottom;
  let low = 0, high = 0.1;
  for (let n = 2; n < lengths; n++) { low = Math.min(low, data.matches[n]); high = Math.max(high, data.matches[n]); }
  const y = (v) => bottom - (v - low) / (high - low) * (bottom - curve.top);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = context.strokeStyle = css("--dim");
  context.lineWidth = 1;
  context.beginPath(); context.moveTo(curve.left, y(0)); context.lineTo(width - curve.right, y(0)); context.stroke();
  context.textAlign = "right"; context.textBaseline = "middle";
  context.fillText("0", curve.left - 6, y(0)); context.fillText(high.toFixed(2), curve.left - 6, y(high));
  context.textAlign = "center"; context.textBaseline = "top";
  for (const n of ticks(2, most, log, (width - 44) / 70)) context.fillText(String(n), clamp(x(n), curve.left, width - 20), bottom + 7);
  context.strokeStyle = css("--ink"); context.lineWidth = 1.3;
  context.beginPath();
  for (let n = 2; n < lengths; n++) context[n === 2 ? "moveTo" : "lineTo"](x(n), y(data.matches[n]));
  context.stroke();
  context.fillStyle = css("--accent");
  context.textBaseline = "bottom";
  let ends = [];
  for (const [n, value] of data.peaks) {
    context.beginPath(); context.arc(x(n), y(value), 4.5, 0, 7); context.fill();
    const half = context.measureText(String(n)).width / 2 + 3;
    if (ends.some(([a, b]) => x(n) + half > a && x(n) - half < b)) continue;
    ends.push([x(n) - half, x(n) + half]);
    context.fillText(String(n), x(n), y(value) - 5);
  }
  if (state.line <= most) {
    context.strokeStyle = css("--odd"); context.lineWidth = 1.5; context.setLineDash([4, 3]);
    context.beginPath(); context.moveTo(x(state.line), curve.top - 8); context.lineTo(x(state.line), bottom); context.stroke();
    context.setLineDash([]);
  }
}

function ticks(low, high, log, most) {
  if (log) {
    const all = [];
    for (let decade = 1; decade <= high; decade *= 10) for (const k of [1, 2, 5]) if (k * decade >= low && k * decade <= high) all.push(k * decade);
    return all;
  }
  const raw = (high - low) / Math.max(most, 2), power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(1, [1, 2, 5, 10].map((k) => k * power).find((k) => k >= raw));
  const all = [];
  for (let n = Math.ceil(low / step) * step; n <= high; n += step) all.push(n);
  return all;
}

// ---- times ----------------------------------------------------------------------------------

const clock = { left: 46, right: 10, top: 10, bottom: 24, height: 170 };

function drawTimes() {
  if (!data.times) return;
  const [context, width] = sized($("times"), clock.height);
  const { late, highest, bin, lost } = data.times, bottom = clock.height - clock.bottom;
  const last = Math.max(1, highest.length * bin);
  const x = (frame) => clock.left + (width - clock.left - clock.right) * frame / last;
  const sorted = late.map((one) => one[1]).sort((a, b) => a - b);
  // what is nearly always enough: a pause of minutes must not flatten the line ends
  const high = Math.max(1.02, (sorted[Math.floor(sorted.length * 0.97)] || 1.02) * 1.15 - 0.15);
  const y = (ratio) => bottom - clamp((ratio - 1) / (high - 1), 0, 1) * (bottom - clock.top);
  context.font = "12px system-ui, sans-serif"; context.fillStyle = css("--dim");
  context.textAlign = "right"; context.textBaseline = "middle";
  context.fillText("usual", clock.left - 6, y(1));
  context.fillText(`× ${high.toPrecision(3)}`, clock.left - 6, y(high));
  context.textAlign = "center"; context.textBaseline = "top";
  for (const n of ticks(0, last, false, (width - 56) / 90)) context.fillText(String(n), clamp(x(n), clock.left, width - 24), bottom + 7);
  context.strokeStyle = css("--dim"); context.lineWidth = 1;
  context.beginPath();
  highest.forEach((ratio, i) => context[i ? "lineTo" : "moveTo"](x((i + 0.5) * bin), y(Math.max(1, ratio))));
  context.stroke();
  let ends = 0;
  for (const [frame, ratio] of late) {
    const end = isLineEnd(frame);
    ends += end;
    context.fillStyle = css(end ? "--end" : "--odd");
    context.beginPath(); context.arc(x(frame), y(ratio), 3, 0, 7); context.fill();
  }
  context.fillStyle = css("--lost");
  for (const [frame] of lost) { context.fillRect(x(frame) - 1, clock.top, 2, bottom - clock.top); }
  const missing = lost.reduce((sum, one) => sum + one[1], 0);
  const all = late.length + data.times.more;
  $("clock-text").textContent = `A frame every ${seconds(data.times.step)}; ` +
    (all ? `${all} come late, ${ends} of ${late.length} where a line ends now` : "none comes late") +
    (missing ? `; ${missing} frame number${missing > 1 ? "s are" : " is"} missing` : "") + ".";
}

let starts = null; // first frames of lines, where lines are not regular
function isLineEnd(frame) {
  if (state.candidate && state.candidate.runs) {
    if (!starts) {
      const columns = state.candidate.shape[0];
      starts = new Set(state.candidate.runs.filter(([position]) => position % columns === 0).map((run) => run[1]));
      for (const [position, first, count] of state.candidate.runs) {
        for (let p = Math.ceil(position / columns) * columns; p < position + count; p += columns) starts.add(first + p - position);
      }
    }
    return starts.has(frame) ? 1 : 0;
  }
  const behind = frame - state.first;
  const place = ((behind % state.line) + state.line) % state.line;
  return place === 0 || (state.flyback && place >= state.line - state.flyback) ? 1 : 0;
}

function seconds(s) {
  for (const [limit, unit] of [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]]) if (s >= limit) return `${+(s / limit).toPrecision(4)} ${unit}`;
  return `${+(s * 1e9).toPrecision(4)} ns`;
}

// ---- pattern and detectors ------------------------------------------------------------------

const detectors = data.geometry ? { ...data.geometry } : null;
let single = null; // the pattern under the pointer, if there is a server

function drawPattern() {
  if (!data.pattern) return;
  const room = $("pattern").clientWidth || 300, [tall, wide] = data.frame;
  const edge = Math.min(room, 380), height = Math.round(edge * Math.min(1.2, tall / wide));
  const [context, width] = sized($("pattern"), height);
  const source = single || data.pattern;
  const bytes = unpacked(source.data, 8);
  const picture = new ImageData(source.columns, source.rows), pixels = new Uint32Array(picture.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = COLOURS[bytes[i]];
  const small = document.createElement("canvas");
  small.width = source.columns; small.height = source.rows;
  small.getContext("2d").putImageData(picture, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, width, height);
  if (!detectors) return;
  const sx = width / wide, sy = height / tall;
  const ring = (radius, colour) => {
    context.strokeStyle = colour; context.lineWidth = 2;
    context.beginPath();
    context.ellipse((detectors.column + 0.5) * sx, (detectors.row + 0.5) * sy, radius * sx, radius * sy, 0, 0, 7);
    context.stroke();
  };
  ring(detectors.radius, "#5cd6ff"); ring(detectors.inner, "#96eb8c"); ring(detectors.outer, "#96eb8c");
  const n = (v) => +v.toFixed(1);
  const centre = `(${n(detectors.row)}, ${n(detectors.column)})`;
  $("reduce").textContent = `import rsciio_tem as rt\nimages = rt.reduce(${python(data.path)}, masks={\n` +
    `    "bf": rt.Disk(${n(detectors.radius)}, ${centre}),\n` +
    `    "adf": rt.Annulus(${n(detectors.inner)}, ${n(detectors.outer)}, ${centre})})`;
}

function dragPattern() {
  const canvas = $("pattern");
  let grip = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientY - box.top) / box.height * data.frame[0] - 0.5, (event.clientX - box.left) / box.width * data.frame[1] - 0.5];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!detectors) return;
    const [row, column] = at(event), distance = Math.hypot(row - detectors.row, column - detectors.column);
    const near = ["radius", "inner", "outer"].map((name) => [Math.abs(distance - detectors[name]), name]).sort((a, b) => a[0] - b[0])[0];
    const reach = 10 / canvas.clientWidth * data.frame[1];
    grip = near[0] < reach ? near[1] : "centre";
    canvas.setPointerCapture(event.pointerId);
    move(event);
  });
  const move = (event) => {
    if (!grip) return;
    const [row, column] = at(event);
    if (grip === "centre") { detectors.row = clamp(row, 0, data.frame[0] - 1); detectors.column = clamp(column, 0, data.frame[1] - 1); }
    else setRadius(grip, Math.hypot(row - detectors.row, column - detectors.column));
    detectorsChanged();
  };
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", () => { if (grip && data.server) measure(); grip = null; });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step || !detectors) return;
    detectors.row += step[0]; detectors.column += step[1];
    event.preventDefault();
    detectorsChanged();
  });
  for (const name of ["radius", "inner", "outer"]) {
    $(name).addEventListener("input", () => { const value = parseFloat($(name).value); if (value > 0) { setRadius(name, value); drawPattern(); } });
    $(name).addEventListener("change", () => { detectorsChanged(); if (data.server) measure(); });
  }
}

function setRadius(name, value) {
  detectors[name] = Math.max(0.5, value);
  if (name === "inner") detectors.outer = Math.max(detectors.outer, detectors.inner + 0.5);
  if (name === "outer") detectors.inner = Math.min(detectors.inner, detectors.outer - 0.5);
}

function detectorsChanged() {
  for (const name of ["radius", "inner", "outer"]) if (document.activeElement !== $(name)) $(name).value = detectors[name].toFixed(1);
  requestDraw("pattern");
}

// ---- what to paste, and the side file -------------------------------------------------------

const python = (text) => `"${text.replace(/[\\"]/g, "\\$&").replace(/[\x00-\x1f\x7f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`)}"`;

// Keywords of readers that arrange frames as they are shown.
function keywords() {
  const chosen = state.candidate;
  if (chosen && chosen.keywords) return chosen.keywords;
  const { columns, lines } = geometry(), words = { navigation_shape: chosen ? chosen.shape : [columns, lines] };
  // with an offset, nothing is put in its place by times: what is seen is what is loaded
  if (state.first < 0 || (data.placed && !state.flyback)) words.sync_offset = state.first;
  else if (state.first) words.first_frame = state.first * data.layers;
  if (state.flyback) words.line_skip = state.flyback;
  if (state.snake) words.snake = true;
  return words;
}

function asPython(value) {
  if (Array.isArray(value)) return `(${value.map(asPython).join(", ")}${value.length === 1 ? "," : ""})`;
  return value === true ? "True" : value === false ? "False" : value === null ? "None" : typeof value === "string" ? python(value) : String(value);
}

function asToml(value) {
  if (Array.isArray(value)) return `[${value.map(asToml).join(", ")}]`;
  return typeof value === "string" ? JSON.stringify(value).replace(/\x7f/g, "\\u007f") : String(value);
}

function drawKeywords() {
  const words = Object.entries({ ...data.asked, ...keywords() }).map(([name, value]) => `${name}=${asPython(value)}`);
  const call = [python(data.path), "lazy=True", ...words].join(", ");
  $("keywords").textContent = `${data.call}(${call})`;
}

// The tables of the side file, by name: what `annotate` would be told.
function sideValues() {
  const values = { ...data.side.kept, ...keywords() };
  if (values.scan === "auto") delete values.scan;
  const step = $("scan-step").value.trim();
  if (step) values.scan_step = step; else delete values.scan_step;
  if ($("with-centre").checked && detectors) values.centre = [+detectors.column.toFixed(2), +detectors.row.toFixed(2)];
  return values;
}

const TABLES = {
  scan: ["navigation_shape", "scan", "first_frame", "last_frame", "sync_offset", "flyback", "line_skip", "snake", "winding_scan_axis", "hysteresis"],
  calibration: ["scan_step", "detector_step", "camera_length", "pixel_size", "beam_energy", "centre"],
  corrections: ["corrections", "dark", "gain", "excluded_pixels", "repair"],
};

function sideText() {
  const values = sideValues(), notes = $("notes").value.trim();
  const lines = ["# What rsciio-tem and hs.load read with the recording beside this file.", "", "[rsciio-tem]", `schema = ${data.side.schema}`,
    `version = ${asToml(data.version)}`, 'by = "rsciio-tem inspect"', `time = ${asToml(new Date().toISOString())}`];
  if (notes) lines.push(`notes = ${asToml(notes)}`);
  lines.push("", "[recording]", ...Object.entries(data.side.identity).map(([name, value]) => `${name} = ${asToml(value)}`));
  for (const [table, names] of Object.entries(TABLES)) {
    const entries = names.filter((name) => name in values);
    if (entries.length) lines.push("", `[${table}]`, ...entries.map((name) => `${name} = ${asToml(values[name])}`));
  }
  return lines.join("\n") + "\n";
}

async function saveSide() {
  const step = $("scan-step").value.trim();
  if (step && !/^\d*\.?\d+([eE][+-]?\d+)?(\s*,\s*\d*\.?\d+([eE][+-]?\d+)?)?\s*[^\d\s,.]*\S*$/.test(step)) {
    $("saved").textContent = "The scan step is a number and a unit, such as 0.5 nm.";
    return;
  }
  if (data.server) {
    const answer = await ask("save", { values: sideValues(), notes: $("notes").value.trim() });
    $("saved").textContent = answer.error || `${answer.path} is written.`;
    return;
  }
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([sideText()], { type: "application/toml" }));
  link.download = data.side.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  $("saved").textContent = "Move it into the folder of the recording.";
}

async function copyKeywords() {
  const text = $("keywords").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // pages from a disk may not; select it for Ctrl-C
    const range = document.createRange();
    range.selectNodeContents($("keywords"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    document.execCommand("copy");
  }
  $("copied").textContent = "copied";
  setTimeout(() => { $("copied").textContent = ""; }, 2000);
}

// ---- a server, if there is one --------------------------------------------------------------

async function ask(what, question) {
  try {
    const options = question && { method: "POST", body: JSON.stringify(question), headers: { "Content-Type": "application/json" } };
    const answer = await fetch(what, options);
    return await answer.json();
  } catch {
    return { error: "The program that made this page does not answer; it was ended, perhaps." };
  }
}

async function measure() {
  $("measured").textContent = "measuring …";
  const answer = await ask("virtual", detectors);
  $("measured").textContent = answer.error || "";
  for (const one of answer.channels || []) channels[one.key] = { ...one, values: unpacked(one.data, one.bits), top: 2 ** one.bits - 1 };
  requestDraw("scan");
}

let asked = -1;
async function showPattern(frame) {
  if (frame === asked) return;
  asked = frame;
  const answer = frame < 0 ? null : await ask(`pattern?frame=${frame}`);
  if (frame !== asked || (answer && answer.error)) return;
  single = answer;
  $("pattern-text").textContent = frame < 0 ? patternWords() : `Frame ${frame}.`;
  requestDraw("pattern");
}

// ---- what people do -------------------------------------------------------------------------

const waiting = new Set();
function requestDraw(...what) {
  if (!waiting.size) requestAnimationFrame(() => {
    const now = new Set(waiting);
    waiting.clear();
    if (now.has("scan")) { drawScan(); drawCurve(); drawTimes(); drawKeywords(); }
    if (now.has("pattern")) drawPattern();
  });
  for (const one of what) waiting.add(one);
}

const fields = ["line", "first", "flyback"];

function change(changes, candidate = null) {
  Object.assign(state, changes);
  state.candidate = candidate;
  starts = null;
  state.line = clamp(Math.round(state.line) || 1, 1, Math.max(1, data.frames));
  state.flyback = clamp(Math.round(state.flyback) || 0, 0, state.line - 1);
  state.first = clamp(Math.round(state.first) || 0, 1 - data.frames, data.frames - 1);
  limits();
  for (const name of fields) {
    if (document.activeElement !== $(name)) $(name).value = state[name];
    $(`${name}-slider`).value = state[name];
  }
  $("snake").checked = state.snake;
  for (const [i, button] of [...$("candidates").children].entries()) button.setAttribute("aria-pressed", String(matchesState(data.candidates[i])));
  requestDraw("scan");
}

function matchesState(candidate) {
  if (state.candidate) return candidate === state.candidate;
  const { line, flyback, first, snake } = candidate.state;
  return !candidate.runs && line === state.line && flyback === state.flyback && first === state.first && snake === state.snake;
}

function limits() {
  const long = Math.max(64, ...data.candidates.map((one) => 2 * one.state.line), 2 * Math.ceil(Math.sqrt(data.frames)), state.line);
  const set = (name, low, high) => { $(`${name}-slider`).min = low; $(`${name}-slider`).max = high; };
  set("line", 2, Math.min(data.frames, long));
  set("first", Math.min(-Math.min(state.line, data.frames - 1), state.first), Math.max(2 * state.line, state.first));
  set("flyback", 0, Math.max(8, Math.floor(state.line / 4), state.flyback));
}

function build() {
  $("name").textContent = data.name;
  $("version").textContent = data.version;
  const part = data.shown < data.frames ? `, of which this page shows the first ${data.shown}` : "";
  const left = data.left_out.length ? ` Too many frames for: ${data.left_out.join(", ")}.` : "";
  $("about").textContent = `${data.format} · ${data.frames} ${data.layers > 1 ? `positions of ${data.layers} frames` : "frames"}${part}, ` +
    `${[...data.frame].reverse().join(" × ")} px, ${data.dtype}.${left}`;
  for (const text of data.warnings) $("warnings").append(element("li", text));
  $("warnings").hidden = !data.warnings.length;

  for (const { key, label } of images) {
    const tab = element("label"), input = element("input");
    input.type = "radio"; input.name = "channel"; input.value = key; input.checked = key === state.channel;
    input.addEventListener("change", () => { state.channel = key; $("wheel-legend").hidden = key !== "com"; requestDraw("scan"); });
    tab.append(input, label);
    $("channels").append(tab);
  }
  drawKey();
  for (const candidate of data.candidates) {
    const button = element("button"), { state: s } = candidate;
    button.type = "button";
    const columns = s.line - s.flyback, size = candidate.shape ? candidate.shape.join(" × ") : `${columns} × ${Math.floor((data.frames - s.first + s.flyback) / s.line)}`;
    const extra = [s.first && `from frame ${s.first}`, s.flyback && `${s.flyback} flyback`, s.snake && "back and forth"].filter(Boolean).join(", ");
    button.append(element("strong", `${size}${extra && !candidate.runs ? ` (${extra})` : ""}`),
      element("small", `${candidate.title}, ${Math.round(candidate.confidence * 100)} %: ${candidate.reason}`));
    for (const text of candidate.contradictions) button.append(element("small", `But: ${text}`, "against"));
    button.addEventListener("click", () => change({ ...s }, candidate.shape ? candidate : null));
    $("candidates").append(button);
  }
  if (!data.candidates.length) $("candidates").append(element("p", "Nothing speaks for any shape: try line lengths until the image looks right."));

  for (const name of fields) {
    for (const id of [name, `${name}-slider`]) {
      $(id).addEventListener("input", () => { if ($(id).value !== "") change({ [name]: Number($(id).value) }); });
    }
    $(name).addEventListener("change", () => { $(name).value = state[name]; });
  }
  $("snake").addEventListener("change", () => change({ snake: $("snake").checked }));
  $("scan").addEventListener("keydown", (event) => {
    const far = event.shiftKey ? 10 : 1;
    const step = { ArrowLeft: { line: state.line - far }, ArrowRight: { line: state.line + far }, ArrowUp: { first: state.first - far }, ArrowDown: { first: state.first + far } }[event.key];
    if (step) { event.preventDefault(); change(step); }
  });
  $("scan").addEventListener("pointermove", (event) => {
    const box = $("scan").getBoundingClientRect(), { left, top, w, h, arrangement } = drawn;
    const column = Math.floor((event.clientX - box.left - left) / w * arrangement.columns);
    const row = Math.floor((event.clientY - box.top - top) / h * arrangement.shown);
    const inside = column >= 0 && column < arrangement.columns && row >= 0 && row < arrangement.shown;
    const frame = inside ? arrangement.index[row * arrangement.columns + column] : -1;
    $("under").textContent = inside ? `x ${column}, y ${row}: ${frame < 0 ? "no frame" : `frame ${frame}`}` : "";
    if (data.server) showPattern(frame);
  });
  $("scan").addEventListener("pointerleave", () => { $("under").textContent = ""; if (data.server) showPattern(-1); });
  const pick = (event) => {
    const { n } = curveScale(), box = $("curve").getBoundingClientRect(), at = event.clientX - box.left;
    const { x } = curveScale(), near = data.peaks.find(([length]) => Math.abs(x(length) - at) < 9);
    change({ line: near ? near[0] : n(at) });
  };
  $("curve").addEventListener("pointerdown", pick);
  $("curve").addEventListener("pointermove", (event) => { if (event.buttons) pick(event); });
  $("lines").hidden = lengths < 8;
  $("clock").hidden = !data.times;
  $("detector").hidden = !data.pattern;
  if (data.pattern) {
    dragPattern();
    $("pattern-text").textContent = patternWords();
    document.querySelector(".numbers").hidden = $("reduce").hidden = !detectors;
    if (detectors) detectorsChanged();
    $("measure").hidden = !(data.server && detectors);
    $("measure").addEventListener("click", measure);
  }
  $("copy").addEventListener("click", copyKeywords);
  $("side").hidden = !data.side;
  if (data.side) {
    $("side-name").textContent = data.side.name;
    const step = data.side.kept.scan_step;
    $("scan-step").value = step === undefined ? "" : Array.isArray(step) ? step.join(",") : String(step);
    $("notes").value = data.side.notes;
    $("with-centre").closest("label").hidden = !detectors;
    $("save").addEventListener("click", saveSide);
  }
  addEventListener("resize", () => requestDraw("scan", "pattern"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => requestDraw("scan", "pattern"));

  const begin = data.candidates[0];
  const square = Math.max(2, Math.round(Math.sqrt(data.frames)));
  if (begin) change({ ...begin.state }, begin.shape ? begin : null);
  else change({ line: data.peaks.length ? data.peaks[0][0] : square });
  requestDraw("pattern");
}

function patternWords() {
  if (!detectors) return "Sum of all patterns.";
  const sure = detectors.certain ? "" : " The direct beam was not found for sure: put the disk where it is.";
  return `Sum of all patterns, logarithmic; drag the disk (bright field) and the ring (dark field).${sure}`;
}

build();

"use strict";

const SHOWN_SIDE = 2048; // longest side of the canvas on the page; downloads have all pixels
const BACKGROUND = "#000000"; // the colour of label 0, in label PNGs and overlays
const DIM = 50; // opacity, of 255, of classes beside the one that is lit
const ADVICE = {
  400: "This cannot be read as a photo.",
  401: "The token is missing or wrong.",
  403: "The server refuses this page.",
  408: "The photo took too long to arrive.",
  413: "The photo is too large.",
  429: "The server is busy.",
  504: "The photo takes too long.",
};

const at = (id) => document.getElementById(id);
const seconds = (ms) => `${(ms / 1000).toFixed(ms < 995 ? 2 : 1)} s`;
let about = null; // the classes and limits of the server
let token = ""; // kept in this page only
let items = []; // the photos: file, state, and then JSON and label PNGs, or the problem
let current = null; // the photo that is shown
let pinned = false; // whether the user chose it, so that work on others does not replace it
let drawing = 0; // counts what is shown, so that only the last is drawn to its end
let result = null; // the shown photo, its bitmap, and whether this browser can show it
const hidden = new Set(); // names of classes that are not painted
let lit = null; // the class that is painted while others are dim
let wanted = "overlay"; // the view that the user chose; labels where no photo can be seen
let running = null; // aborts the current request

class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server cannot be reached, or it closed the connection.");
  }
  if (response.ok) return response.json();
  const { error = "" } = await response.json().catch(() => ({}));
  throw new Problem(advice(response, error), response.status);
}

/** Return what went wrong, in words for a person. */
function advice({ status, headers }, error) {
  const other = error ? "" : `The answer was status ${status}, without a reason.`; // of a proxy
  const summary = ADVICE[status] ?? other;
  if (status === 401) return summary; // the detail is for programs
  const wait = headers.get("Retry-After");
  const hint = wait ? ` Try again in ${wait} s.` : "";
  return `${summary} ${sentence(error)}${hint}`.trim();
}

/** Return what the server says of a photo as a sentence. */
function sentence(line) {
  const words = line.replace(/^photo: /, "");
  return words && `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;
}

/** Segment photos one after another, in place of those of before. */
function segment(files) {
  items = files.map((file) => ({ file, state: "waiting" }));
  pinned = false;
  return work();
}

/** Work on all photos that are not done, and show each unless the user looks at another. */
async function work() {
  running?.abort();
  const mine = (running = new AbortController());
  for (const item of items) {
    if (item.state === "done") continue;
    Object.assign(item, { state: "working", problem: null });
    list();
    if (!pinned || item === current) display(item);
    await label(item, mine.signal);
    if (mine.signal.aborted) return;
    list();
    if (item === current) await display(item);
    if (item.problem && [0, 401, 429].includes(item.problem.status)) return; // all would
  }
  if (!mine.signal.aborted) conclude();
}

/** Say that the work has ended, for people who do not see it; a problem of one photo says so. */
function conclude() {
  const failed = items.filter((item) => item.state === "failed").length;
  if (items.length > 1) say(`${items.length - failed} done, ${failed} failed.`);
  else if (!failed) say("Done.");
}

/** Ask the server for the labels of a photo, and note them or the problem with the photo. */
async function label(item, signal) {
  try {
    about ??= await ask("about");
    const { file } = item;
    if (file.size > about.max_bytes) {
      const limit = about.max_bytes / 1e6;
      throw new Problem(`${ADVICE[413]} ${file.name} has ${mega(file.size)} MB of ${limit}.`, 413);
    }
    const body = await contents(file);
    const start = performance.now();
    const crf = at("crf").checked;
    const found = await ask(`segment?output=json&embed=true&crf=${crf}`, {
      method: "POST",
      body,
      headers: { "Content-Type": "application/octet-stream" },
      signal,
    });
    const { labels_png: labels, shown_png: drawn, photo_png: read, ...json } = found;
    const [png, shown] = [labels, drawn].map(pngOf);
    const photo = read ? pngOf(read) : file;
    if (signal.aborted) return;
    const elapsed = performance.now() - start;
    Object.assign(item, { state: "done", json, png, shown, photo, elapsed });
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) console.error(error);
    const problem = error instanceof Problem ? error : new Problem(`This went wrong: ${error}`);
    Object.assign(item, { state: "failed", problem });
  }
}

/** Return the bytes of a file; sending what cannot be read would look like the server's fault. */
async function contents(file) {
  try {
    return await file.arrayBuffer();
  } catch {
    const why = "it is a folder, or was moved or changed. Choose the photos themselves";
    throw new Problem(`${file.name} cannot be read: ${why}.`, 400);
  }
}

/** Return the PNG that a text has in base64. */
function pngOf(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

/** Show a photo as far as it has come. */
async function display(item) {
  const mine = ++drawing;
  if (current !== item) hidden.clear();
  current = item;
  result = null;
  list();
  if (item.state === "failed") {
    complain(item.problem);
    return;
  }
  state("working");
  const seen = await preview(item, () => mine === drawing);
  if (mine !== drawing || item.state !== "done") return;
  const bitmap = await createImageBitmap(item.shown, { colorSpaceConversion: "none" });
  if (mine !== drawing) return;
  result = { ...item, bitmap, seen };
  state("done");
  show(item.elapsed);
}

/** List the photos with their states, if there are several, and say which is worked on. */
function list() {
  const place = items.findIndex((item) => item.state === "working");
  const several = items.length > 1;
  say(place < 0 ? "" : several ? `Segmenting ${place + 1} of ${items.length} ...` : "Segmenting ...");
  at("photos").hidden = !several;
  const entries = items.map((item) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = item.file.name;
    button.dataset.state = item.state;
    button.title = `${item.file.name}: ${item.state}`;
    button.disabled = item.state === "waiting";
    if (item === current) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => {
      pinned = item.state !== "working";
      display(item);
    });
    const entry = document.createElement("li");
    entry.append(button);
    return entry;
  });
  const focused = [...at("photos").children].findIndex((e) => e.contains(document.activeElement));
  at("photos").replaceChildren(...entries);
  if (focused >= 0) entries[focused]?.firstChild.focus();
}

const mega = (bytes) => (bytes / 1e6).toFixed(1);

/**
 * Show the photo, as the server read it once it has, if it is still wanted when it is decoded;
 * return false if this browser cannot.
 */
async function preview({ file, photo: read }, wanted) {
  const photo = at("photo");
  if (photo.src) URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(read ?? file);
  photo.alt = `The photo ${file.name}`;
  const seen = await photo.decode().then(() => true, () => false);
  if (!wanted()) return seen;
  at("result").hidden = !seen;
  if (seen) shape(photo.naturalWidth, photo.naturalHeight);
  return seen;
}

function shape(width, height) {
  at("result").style.setProperty("--ratio", width / height);
}

function state(name) {
  document.body.dataset.state = name;
  at("problem").hidden = name !== "failed";
  at("views").disabled = name !== "done";
  for (const id of ["classes", "saving"]) at(id).hidden = name !== "done";
  if (name !== "done") {
    for (const id of ["labels", "contours"]) at(id).hidden = true; // until they are drawn
    at("photo").hidden = false;
    at("caption").textContent = "";
  }
  if (name === "failed") at("result").hidden = true;
}

function say(text) {
  at("status").textContent = text;
}

function complain(problem) {
  state("failed");
  at("access").hidden = problem.status !== 401;
  at("message").textContent = problem.message;
  // A fault of the photo itself will not go away.
  at("again").hidden = !items.length || [400, 401, 413, 415, 422].includes(problem.status);
  if (problem.status === 401) at("token").focus();
}

function show(elapsed) {
  const { json, seen } = result;
  const { width, height } = json.size;
  shape(width, height);
  at("access").hidden = true;
  at("result").hidden = false;
  for (const radio of document.querySelectorAll("[name=view]")) {
    radio.disabled = !seen && radio.value !== "labels";
    radio.checked = radio.value === (seen ? wanted : "labels");
  }
  at("save-overlay").disabled = !seen;
  table(json.classes);
  const stages = Object.entries(json.ms).map(([stage, ms]) => `${stage} ${seconds(ms)}`);
  const boxes = `${json.proposals} ${json.proposals === 1 ? "box" : "boxes"}`;
  const notes = json.notes.map(sentence);
  if (!seen) notes.unshift("This browser cannot show the photo itself.");
  at("caption").textContent = [
    `${width} × ${height} pixels, ${boxes}, ${seconds(elapsed)} in all: ${stages.join(", ")}.`,
    ...notes,
  ].join(" ");
  view();
}

function table(shares) {
  const colours = new Map(about.classes.map(({ name, overlay }) => [name, overlay]));
  const rows = Object.entries(shares).map(([name, share]) => {
    const row = document.createElement("tr");
    const head = row.appendChild(document.createElement("th"));
    head.scope = "row";
    const swatch = head.appendChild(document.createElement("span"));
    swatch.className = "swatch";
    swatch.style.background = colours.get(name);
    if (colours.get(name) === BACKGROUND) head.append(name);
    else head.append(toggle(name));
    row.addEventListener("pointerenter", () => light(name));
    row.addEventListener("focusin", ({ target }) => {
      if (target.matches(":focus-visible")) light(name); // not by a tap, which nothing would end
    });
    for (const kind of ["pointerleave", "focusout"]) row.addEventListener(kind, () => light(null));
    const bar = row.insertCell().appendChild(document.createElement("span"));
    bar.className = "bar";
    bar.style.width = `${100 * share}%`;
    row.insertCell().textContent = `${(100 * share).toFixed(1)} %`;
    return row;
  });
  at("classes").tBodies[0].replaceChildren(...rows);
}

/** Return a box that hides and shows a class. */
function toggle(name) {
  const box = document.createElement("input");
  Object.assign(box, { type: "checkbox", checked: !hidden.has(name) });
  box.addEventListener("change", () => {
    if (box.checked) hidden.delete(name);
    else hidden.add(name);
    view();
  });
  const label = document.createElement("label");
  label.append(box, name);
  return label;
}

/** Dim all classes but this one; null dims none. */
function light(name) {
  if (lit === name) return;
  lit = name;
  if (result) view();
}

/** Return the pixel that each class is painted with, by its pixel in the label PNG. */
function painting(all) {
  const found = new Map();
  for (const { name, colour, overlay } of about.classes) {
    const gone = hidden.has(name) || (!all && colour === BACKGROUND);
    const alpha = lit !== null && lit !== name ? DIM : 255;
    found.set(packed(colour, 255), gone ? 0 : packed(overlay, alpha));
  }
  return found;
}

/** Return a colour, #rrggbb, with an opacity, 0 to 255, as it stands in the pixels of a canvas. */
function packed(colour, alpha) {
  const rgb = [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
  return new Uint32Array(new Uint8Array([...rgb, alpha]).buffer)[0];
}

/**
 * Paint the labels in this size and in the colours of overlays, without hidden classes, and
 * background only if `all` is set.
 */
function paint(canvas, width, height, all) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(result.bitmap, 0, 0, width, height);
  const painted = painting(all);
  const pixels = context.getImageData(0, 0, width, height);
  const values = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < values.length; i++) {
    const pixel = painted.get(values[i]);
    if (pixel !== undefined) values[i] = pixel;
  }
  context.putImageData(pixels, 0, 0);
}

function view() {
  const chosen = document.querySelector("[name=view]:checked").value;
  const canvas = at("labels");
  const { width, height } = result.json.size;
  const scale = Math.min(1, SHOWN_SIDE / Math.max(width, height));
  const sides = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  if (chosen !== "photo") paint(canvas, ...sides, chosen === "labels");
  canvas.hidden = chosen === "photo";
  at("contours").hidden = chosen !== "overlay" || !at("outlined").checked;
  if (!at("contours").hidden) drawContours(at("contours"), canvas);
  at("photo").hidden = chosen === "labels";
  canvas.setAttribute("aria-label", `Labels: ${Object.keys(result.json.classes).join(", ")}`);
  for (const id of ["opacity", "outlined"]) at(id).disabled = chosen !== "overlay";
  fade();
}

function fade() {
  const chosen = document.querySelector("[name=view]:checked").value;
  at("percent").textContent = `${at("opacity").value} %`;
  at("labels").style.opacity = chosen === "overlay" ? at("opacity").value / 100 : 1;
}

function save(blob, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = current.file.name.replace(/\.[^.]*$/, "") + ending;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Save the photo under its labels, as shown, at the photo's own size. */
function saveOverlay() {
  const { width, height } = result.json.size;
  const above = document.createElement("canvas");
  paint(above, width, height, false);
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(at("photo"), 0, 0, width, height);
  context.globalAlpha = at("opacity").value / 100;
  context.drawImage(above, 0, 0);
  if (at("outlined").checked) {
    const lines = document.createElement("canvas");
    drawContours(lines, above);
    context.globalAlpha = 1;
    context.drawImage(lines, 0, 0);
  }
  canvas.toBlob((blob) => save(blob, "-overlay.png"));
}

at("choose").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", () => {
  const chosen = [...at("file").files];
  if (chosen.length) segment(chosen);
  at("file").value = ""; // so that the same file can be chosen once more
});
at("crf").addEventListener("change", () => {
  for (const item of items) item.state = "waiting";
  work();
});
at("again").addEventListener("click", () => {
  at("status").focus(); // as the button that had the focus hides itself
  work();
});
at("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  at("status").focus(); // as the form hides itself if the token is right
  work();
});
at("views").addEventListener("change", ({ target }) => {
  if (target.name !== "view") return;
  wanted = target.value;
  view();
});
at("opacity").addEventListener("input", fade);
at("outlined").addEventListener("change", view);
at("save-labels").addEventListener("click", () => save(result.png, "-labels.png"));
at("save-overlay").addEventListener("click", saveOverlay);
at("save-json").addEventListener("click", () => {
  const text = `${JSON.stringify(result.json, null, 2)}\n`;
  save(new Blob([text], { type: "application/json" }), ".json");
});

document.addEventListener("paste", (event) => {
  const pasted = [...event.clipboardData.files];
  if (pasted.length) segment(pasted);
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const dropped = [...event.dataTransfer.files];
  if (dropped.length) segment(dropped);
  else complain(new Problem("That is not a file; drop an image file.", 400));
});

ask("about").then(
  (found) => {
    about = found;
    at("which").title = found.classes.map(({ name }) => name).join(", ");
    at("which").textContent = `one of ${found.classes.length} classes`;
    at("crf").checked = found.crf;
  },
  complain,
);

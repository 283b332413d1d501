"use strict";

const SHOWN_SIDE = 2048; // longest side of the canvas on the page; downloads have all pixels
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
let file = null; // the last photo
let result = null; // of the last photo: JSON, label PNG and its bitmap
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
  const summary = ADVICE[status] ?? "";
  if (status === 401) return summary; // the detail is for programs
  const detail = error.replace(/^photo: /, "");
  const wait = headers.get("Retry-After");
  const hint = wait ? ` Try again in ${wait} s.` : "";
  return `${summary} ${detail.charAt(0).toUpperCase()}${detail.slice(1)}.${hint}`.trim();
}

async function segment(given) {
  running?.abort();
  const mine = (running = new AbortController());
  file = given;
  result = null;
  state("working");
  try {
    about ??= await ask("/about");
    if (file.size > about.max_bytes) {
      const limit = about.max_bytes / 1e6;
      throw new Problem(`${ADVICE[413]} ${file.name} has ${mega(file.size)} MB of ${limit}.`, 413);
    }
    const seen = await preview(file);
    if (mine.signal.aborted) return;
    say("Segmenting ...");
    const start = performance.now();
    const crf = at("crf").checked;
    const found = await ask(`/segment?output=json&embed=true&crf=${crf}`, {
      method: "POST",
      body: file,
      headers: { "Content-Type": "application/octet-stream" },
      signal: mine.signal,
    });
    const elapsed = performance.now() - start;
    const { labels_png: encoded, ...json } = found;
    const png = new Blob([Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0))], {
      type: "image/png",
    });
    const bitmap = await createImageBitmap(png, { colorSpaceConversion: "none" });
    if (mine.signal.aborted) return;
    result = { json, png, bitmap, seen };
    show(elapsed);
    state("done");
  } catch (error) {
    if (mine.signal.aborted) return;
    if (!(error instanceof Problem)) console.error(error);
    complain(error instanceof Problem ? error : new Problem(`This went wrong: ${error}`));
  }
}

const mega = (bytes) => (bytes / 1e6).toFixed(1);

/** Show the photo while it is segmented; return false if this browser cannot. */
async function preview(source) {
  const photo = at("photo");
  if (photo.src) URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(source);
  photo.alt = `The photo ${source.name}`;
  const seen = await photo.decode().then(() => true, () => false);
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
  for (const id of ["labels", "classes", "saving"]) at(id).hidden = name !== "done";
  if (name !== "done") at("caption").textContent = "";
  if (name === "failed") at("result").hidden = true;
  say("");
}

function say(text) {
  at("status").textContent = text;
}

function complain(problem) {
  state("failed");
  at("access").hidden = problem.status !== 401;
  at("message").textContent = problem.message;
  // A fault of the photo itself will not go away.
  at("again").hidden = !file || [400, 401, 413, 415, 422].includes(problem.status);
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
    if (!seen) radio.checked = radio.value === "labels";
  }
  at("save-overlay").disabled = !seen;
  table(json.classes);
  const stages = Object.entries(json.ms).map(([stage, ms]) => `${stage} ${seconds(ms)}`);
  const boxes = `${json.proposals} ${json.proposals === 1 ? "box" : "boxes"}`;
  at("caption").textContent =
    `${width} × ${height} pixels, ${boxes}, ${seconds(elapsed)} in all: ${stages.join(", ")}` +
    (seen ? "" : ". This browser cannot show the photo itself");
  view();
}

function table(shares) {
  const colours = new Map(about.classes.map(({ name, colour }) => [name, colour]));
  const rows = Object.entries(shares).map(([name, share]) => {
    const row = document.createElement("tr");
    const head = row.appendChild(document.createElement("th"));
    head.scope = "row";
    const swatch = head.appendChild(document.createElement("span"));
    swatch.className = "swatch";
    swatch.style.background = colours.get(name);
    head.append(name);
    const bar = row.insertCell().appendChild(document.createElement("span"));
    bar.className = "bar";
    bar.style.width = `${100 * share}%`;
    row.insertCell().textContent = `${(100 * share).toFixed(1)} %`;
    return row;
  });
  at("classes").tBodies[0].replaceChildren(...rows);
}

/** Paint the labels in this size, without background unless `all` is set. */
function paint(canvas, width, height, all) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(result.bitmap, 0, 0, width, height);
  if (all) return;
  const pixels = context.getImageData(0, 0, width, height);
  const values = new Uint32Array(pixels.data.buffer);
  const black = new Uint32Array(new Uint8Array([0, 0, 0, 255]).buffer)[0];
  for (let i = 0; i < values.length; i++) if (values[i] === black) values[i] = 0;
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
  at("photo").hidden = chosen === "labels";
  canvas.setAttribute("aria-label", `Labels: ${Object.keys(result.json.classes).join(", ")}`);
  at("opacity").disabled = chosen !== "overlay";
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
  link.download = file.name.replace(/\.[^.]*$/, "") + ending;
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
  canvas.toBlob((blob) => save(blob, "-overlay.png"));
}

at("choose").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", () => {
  const [chosen] = at("file").files;
  if (chosen) segment(chosen);
  at("file").value = ""; // so that the same file can be chosen once more
});
at("crf").addEventListener("change", () => file && segment(file));
at("again").addEventListener("click", () => segment(file));
at("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  if (file) segment(file);
});
at("views").addEventListener("change", (event) => event.target.name === "view" && view());
at("opacity").addEventListener("input", fade);
at("save-labels").addEventListener("click", () => save(result.png, "-labels.png"));
at("save-overlay").addEventListener("click", saveOverlay);
at("save-json").addEventListener("click", () => {
  const text = `${JSON.stringify(result.json, null, 2)}\n`;
  save(new Blob([text], { type: "application/json" }), ".json");
});

document.addEventListener("paste", (event) => {
  const [pasted] = event.clipboardData.files;
  if (pasted) segment(pasted);
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
  const [dropped] = event.dataTransfer.files;
  if (dropped) segment(dropped);
  else complain(new Problem("That is not a file; drop an image file.", 400));
});

ask("/about").then(
  (found) => {
    about = found;
    at("which").title = found.classes.map(({ name }) => name).join(", ");
    at("which").textContent = `one of ${found.classes.length} classes`;
    at("crf").checked = found.crf;
  },
  complain,
);

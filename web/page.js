// Sixteen pads over the worker. What they hold is the page's address: a link is a kit, and Back undoes.

"use strict";

const KEYS = [..."1234qwerasdfzxcv"];
const FIRST =
  "kick-2012,rim-2102,snare-2046,clap-2066,snare-2139,tom-2081,hat_closed-2003,tom-2048," +
  "hat_closed-2090,tom-2008,hat_open-2118,tom-2061,perc-2039,cymbal-2131,perc-2012,cymbal-2139";
const KEPT = "audiodiff.kept";

const $ = (id) => document.getElementById(id);
// Whatever goes wrong is told, whether it was thought of or not.
addEventListener("error", (event) => say(event.message, true));
addEventListener("unhandledrejection", (event) => say(String(event.reason), true));
const audio = new AudioContext({ latencyHint: "interactive" });

/** Sounds by recipe, the newest at the end: { buffer, wav, milliseconds }, or { trouble }. */
const sounds = new Map();
const MOST_SOUNDS = 128;
/** Recipes that the worker is to make, the next one first, and the one that it is making. */
let wanted = [];
let making = null;
/** What was struck last, where it is still to be made: it is heard once it is there. */
let awaited = null;
/** What is to be written as a file once it is there. */
const downloads = new Set();
/** The recipe of each pad. */
let pads = [];
let selected = 0;
/** What the model has learnt to make, and how often a sound is varied at most: known once the model is open. */
let classes = [];
let mostVariations = 0;
let program;
let worker;
/** Recipes that were kept, the newest first, and whether the browser keeps them. */
let kept = [];
let keeps = true;

function say(text, isTrouble = false) {
  $("status").textContent = text;
  $("status").classList.toggle("trouble", isTrouble);
}

const classOf = (recipe) => recipe.split("-")[0];
const spoken = (name) => name.replaceAll("_", " ");
const seed = () => crypto.getRandomValues(new Uint32Array(1))[0];

// --- sounds -------------------------------------------------------------------------------------------------------

/** Asks the worker for a sound, before all others where somebody waits for it. */
function want(recipe, first = false) {
  if (sounds.has(recipe) || recipe === making || (!first && wanted.includes(recipe))) return;
  wanted = wanted.filter((other) => other !== recipe);
  first ? wanted.unshift(recipe) : wanted.push(recipe);
  next();
}

function next() {
  if (!worker || making !== null) return;
  // What a later press has put aside is not made.
  wanted = wanted.filter((recipe) => pads.includes(recipe) || recipe === awaited || downloads.has(recipe));
  making = wanted.shift() ?? null;
  if (making !== null) worker.postMessage({ recipe: making });
}

function arrived({ recipe, rate, channels, samples, wav, milliseconds, trouble }) {
  making = null;
  let made = { trouble };
  if (trouble) {
    say(trouble, true);
  } else {
    const frames = samples.length / channels;
    const buffer = audio.createBuffer(channels, frames, rate);
    for (let channel = 0; channel < channels; channel++) {
      buffer.copyToChannel(samples.subarray(channel * frames, (channel + 1) * frames), channel);
    }
    made = { buffer, wav, milliseconds };
  }
  sounds.set(recipe, made);
  for (const old of sounds.keys()) {
    if (sounds.size <= MOST_SOUNDS) break;
    if (!pads.includes(old)) sounds.delete(old);
  }
  if (awaited === recipe) {
    awaited = null;
    hear(recipe, made);
  }
  if (downloads.delete(recipe)) write(recipe, made);
  next();
  if (worker && making === null && !$("status").classList.contains("trouble")) say("All sounds are made.");
  show();
}

/** Plays a recipe; one that is still to be made, once it is there, and only where nothing was struck since. */
function play(recipe) {
  audio.resume();
  say("");
  const made = sounds.get(recipe);
  awaited = made ? null : recipe;
  made ? hear(recipe, made) : want(recipe, true);
}

/** The last press before the browser let the page be heard. */
let held;
/** The hat that was struck last: on one stand the next one stops it. */
let hat;

function hear(recipe, { buffer, trouble }) {
  if (trouble) return say(trouble, true);
  const start = () => {
    const source = new AudioBufferSourceNode(audio, { buffer });
    const gain = new GainNode(audio);
    source.connect(gain).connect(audio.destination);
    source.start();
    if (!classOf(recipe).startsWith("hat")) return;
    hat?.gain.setTargetAtTime(0, audio.currentTime, 0.005);
    hat = gain;
  };
  if (audio.state === "running") return start();
  // Not all that was struck in silence comes at once, and nothing comes long after.
  const press = (held = { at: performance.now() });
  audio.resume().then(() => held === press && performance.now() - press.at < 1000 && start());
}

// --- what the address says ----------------------------------------------------------------------------------------

function read() {
  let named = location.hash.slice(1);
  try {
    named = decodeURIComponent(named);
  } catch {
    // A % that begins nothing: the pads tell what they cannot read.
  }
  const found = named.split(",");
  pads = FIRST.split(",").map((recipe, i) => found[i] || recipe);
  for (const recipe of pads) want(recipe);
  show();
}

const address = () => `#${pads.map(encodeURIComponent).join(",")}`;

/** Puts a recipe onto a pad. */
function put(pad, recipe) {
  pads[pad] = recipe;
  try {
    history.pushState(null, "", address());
  } catch {
    // Some browsers take no more than a hundred in half a minute. The link is right all the same.
  }
  play(recipe);
  show();
}

// --- what is kept -------------------------------------------------------------------------------------------------

function load() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEPT) ?? "[]");
    kept = Array.isArray(stored) ? stored.filter((recipe) => typeof recipe === "string") : [];
  } catch (error) {
    say(`what was kept cannot be read: ${error.message}`, true);
  }
}

/** Changes what is kept: what is kept now, which another tab may have changed. */
function change(how) {
  if (keeps) load();
  kept = how(kept);
  try {
    localStorage.setItem(KEPT, JSON.stringify(kept));
  } catch (error) {
    keeps = false;
    say(`what you keep is gone once the page is closed: ${error.message}`, true);
  }
  list();
}

function download(recipe) {
  const made = sounds.get(recipe);
  if (made) return write(recipe, made);
  downloads.add(recipe);
  want(recipe, true);
}

function write(recipe, { wav, trouble }) {
  if (trouble) return say(trouble, true);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([wav], { type: "audio/wav" }));
  link.download = `${recipe.slice(0, 200)}.wav`; // file systems take 255 bytes; the file's comment says it whole
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// --- what is seen -------------------------------------------------------------------------------------------------

/** Draws a sound as its highest and lowest values, louder than it is where it is quiet. */
function draw(canvas, made) {
  const scale = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((length) => Math.round(length * scale));
  if (canvas.width === width && canvas.height === height && canvas.drawn === made) return;
  [canvas.width, canvas.height, canvas.drawn] = [width, height, made];
  const context = canvas.getContext("2d");
  if (!made?.buffer) return;
  const values = made.buffer.getChannelData(0);
  let peak = 1e-6;
  for (const value of values) peak = Math.max(peak, Math.abs(value));
  context.fillStyle = getComputedStyle(canvas).color;
  for (let x = 0; x < width; x++) {
    const [from, to] = [Math.floor((x * values.length) / width), Math.ceil(((x + 1) * values.length) / width)];
    let [low, high] = [0, 0];
    for (let i = from; i < to; i++) {
      low = Math.min(low, values[i]);
      high = Math.max(high, values[i]);
    }
    const [top, bottom] = [high, low].map((value) => (1 - value / peak) * 0.5 * height);
    context.fillRect(x, top, 1, Math.max(1, bottom - top));
  }
}

function show() {
  for (const [i, button] of [...$("pads").children].entries()) {
    const made = sounds.get(pads[i]);
    button.dataset.recipe = pads[i];
    button.dataset.state = made?.buffer ? "there" : made?.trouble ? "trouble" : "waiting";
    button.setAttribute("aria-pressed", String(i === selected));
    const state = made?.buffer ? "" : made?.trouble ? ", cannot be made" : ", being made";
    button.setAttribute("aria-label", `pad ${i + 1}, ${spoken(classOf(pads[i]))}, key ${KEYS[i]}${state}`);
    button.querySelector(".class").textContent = spoken(classOf(pads[i]));
    draw(button.querySelector("canvas"), made);
  }
  const recipe = pads[selected];
  const made = sounds.get(recipe);
  $("name").textContent = recipe;
  $("length").textContent = made?.buffer
    ? `${made.buffer.duration.toFixed(2)} s, made in ${Math.round(made.milliseconds)} ms`
    : (made?.trouble ?? "being made");
  draw($("wave"), made);
  $("class").value = classOf(recipe);
  // Not while a sound is being made: a button that is switched off loses the keyboard's focus.
  const opened = classes.length > 0;
  for (const id of ["vary", "keep", "download"]) $(id).disabled = !opened || Boolean(made?.trouble);
  $("new").disabled = $("class").disabled = !opened;
}

/** Draws the list of what is kept; the keyboard's focus stays where it was. */
function list() {
  const rows = [...$("kept").children];
  const row = rows.findIndex((item) => item.contains(document.activeElement));
  const column = row < 0 ? 0 : [...rows[row].children].indexOf(document.activeElement);
  const focused = rows[row]?.dataset.recipe;
  $("kept").replaceChildren(
    ...kept.map((recipe) => {
      const item = document.createElement("li");
      item.dataset.recipe = recipe;
      const button = (text, title, action) => {
        const made = Object.assign(document.createElement("button"), { textContent: text, title });
        made.setAttribute("aria-label", `${title}: ${recipe}`);
        made.addEventListener("click", action);
        item.append(made);
      };
      button(recipe, "Play", () => play(recipe));
      button("to pad", "Put it onto the selected pad", () => put(selected, recipe));
      button("↓", "Download", () => download(recipe));
      button("×", "Forget", () => change((kept) => kept.filter((other) => other !== recipe)));
      return item;
    }),
  );
  $("none").hidden = kept.length > 0;
  if (row < 0) return;
  const at = kept.includes(focused) ? kept.indexOf(focused) : Math.min(row, kept.length - 1);
  ($("kept").children[at]?.children[column] ?? $("link")).focus();
}

// --- hands --------------------------------------------------------------------------------------------------------

function strike(pad) {
  selected = pad;
  play(pads[pad]);
  const button = $("pads").children[pad];
  button.classList.remove("struck");
  void button.offsetWidth; // begins the animation anew
  button.classList.add("struck");
  show();
}

function another(pad = selected, label = classOf(pads[pad])) {
  put(pad, `${label}-${seed()}`);
}

function vary(pad = selected) {
  const recipe = pads[pad];
  if (recipe.split("-").length > 1 + mostVariations) {
    say(`a sound is varied ${mostVariations} times at most: begin with a new one`, true);
    return;
  }
  put(pad, `${recipe}-${seed()}`);
}

function keep(recipe = pads[selected]) {
  change((kept) => [recipe, ...kept.filter((other) => other !== recipe)]);
}

$("pads").replaceChildren(); // a page that was saved with its pads has them already
for (const key of KEYS) {
  const button = document.createElement("button");
  button.innerHTML = `<canvas></canvas><span class="class"></span><kbd>${key.toUpperCase()}</kbd>`;
  const pad = $("pads").children.length;
  button.addEventListener("pointerdown", (event) => event.button === 0 && strike(pad));
  // A keyboard's Enter and Space; a pointer's click has been heard.
  button.addEventListener("click", (event) => event.detail === 0 && strike(pad));
  button.addEventListener("animationend", () => button.classList.remove("struck"));
  $("pads").append(button);
}
$("new").addEventListener("click", () => another());
$("vary").addEventListener("click", () => vary());
$("keep").addEventListener("click", () => keep());
$("download").addEventListener("click", () => download(pads[selected]));
// Whoever chooses with a pointer goes on to play: letters are for the pads again, and choose no other kind.
let pointed = false;
$("class").addEventListener("pointerdown", () => (pointed = true));
$("class").addEventListener("keydown", () => (pointed = false));
$("class").addEventListener("change", () => {
  another(selected, $("class").value);
  if (pointed) $("class").blur();
});
$("link").addEventListener("click", async () => {
  try {
    history.replaceState(null, "", address());
    await navigator.clipboard.writeText(location.href);
    say("the link to this kit is in the clipboard");
  } catch {
    say("the address of this page is the link to this kit");
  }
});
addEventListener("keydown", (event) => {
  // A key that is held down strikes once, Enter on a button too.
  if (event.repeat && event.key === "Enter" && event.target.closest("button")) event.preventDefault();
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
  // What the key writes, or its place, where it writes no such letter (Greek, or a French 1).
  const written = /^[a-z0-9]$/i.test(event.key) ? event.key : event.code.replace(/^(Digit|Key)/, "");
  const key = written.toLowerCase();
  const pad = KEYS.indexOf(key);
  const action = { n: another, m: vary, k: keep }[key];
  if (pad >= 0) strike(pad);
  else if (action && !$({ n: "new", m: "vary", k: "keep" }[key]).disabled) action();
});
// A finger's pointerdown is no gesture to a browser that holds sound back: its end is.
addEventListener("pointerup", () => audio.resume());
addEventListener("popstate", read);
addEventListener("storage", () => {
  load();
  list();
});
addEventListener("resize", show);

// --- the beginning ------------------------------------------------------------------------------------------------

async function begin() {
  load();
  list();
  read();
  const packed = Uint8Array.from(atob($("wasm").textContent.trim()), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  program = await WebAssembly.compile(await new Response(unpacked).arrayBuffer());
  start();
}

function start() {
  const code = URL.createObjectURL(new Blob([$("worker").textContent], { type: "text/javascript" }));
  const started = new Worker(code);
  started.onerror = (event) => say(event.message, true);
  started.onmessage = ({ data }) => {
    URL.revokeObjectURL(code);
    if (data.classes) {
      opened(started, data);
    } else if (!data.recipe) {
      say(data.trouble, true);
    } else {
      if (data.crashed) {
        // A program that has stopped does nothing more: another one takes its place.
        started.terminate();
        worker = undefined;
        start();
      }
      arrived(data);
    }
  };
  started.postMessage({ program });
}

function opened(started, model) {
  worker = started;
  if (classes.length === 0) {
    ({ classes, mostVariations } = model);
    $("class").replaceChildren(...classes.map((name) => new Option(spoken(name), name)));
    if (!$("status").classList.contains("trouble")) say("Sounds are being made.");
  }
  next();
  show();
}

begin().catch((error) => say(`this browser cannot run the model: ${error.message}`, true));
